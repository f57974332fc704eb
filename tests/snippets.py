"""Snippets of the docs and of model cards, for tests that run what a user would copy."""

import re

from tests.official.tiny import ROOT


def page(name):
    """The text of a page, such as "docs/serving.md"."""
    return (ROOT / name).read_text(encoding="utf-8")


def python_snippets(text):
    """The Python code blocks of a Markdown text."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def shell_commands(text):
    """The lines of the indented blocks of a Markdown text, with continued lines joined."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"^    (\S.*)$", re.sub(r"\\\n\s*", "", text), re.MULTILINE)


def run_snippet(code, names=None):
    """Runs a snippet in the working directory; returns its global names, to which it adds those in `names`."""
    names = {} if names is None else names
    exec(compile(code, "snippet", "exec"), names)
    return names
