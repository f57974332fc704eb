"""JSON from elsewhere: whatever a file holds, the answer is its content or one sentence that names it."""

import json
import os

import pytest

from official.files import checked_json
from official.files.checked_json import MAX_DEPTH, NUMBER, check_keys, read_json
from official.files.layout import printable

KEYS = {"name": str, "train": dict, "train.steps": int, "train.rate": NUMBER, "train.best?": str}
GOOD = {"name": "a", "train": {"steps": 3, "rate": 1, "best": None}, "more": [1]}


def refusal(path, **options):
    with pytest.raises(ValueError) as refused:
        read_json(path, **options)
    message = str(refused.value)
    assert message.startswith(f"{path} ")
    assert "\n" not in message
    return message.removeprefix(f"{path} ")


def test_good(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD))
    assert read_json(path, keys=KEYS) == GOOD
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert len(read_json(path, list)) == 1
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is not JSON: it is empty"),
        (b"{", "is not JSON: Expecting"),
        (b"\xff\xfe{}", "is not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 100_000, "is not JSON: it is nested too deeply"),
        (b'{"a":' * 100_000, "is not JSON: it is nested too deeply"),
        # Python reads it, and what walks through it later might not.
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "is not JSON: it is nested too deeply"),
        (b'{"name": ' + b"9" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b"3", "is not allowed: it must hold a JSON object"),
        (b"[]", "is not allowed: it must hold a JSON object"),
        (b"<html>", "is not JSON: Expecting value"),
    ],
    ids=lambda value: value[:8] if isinstance(value, bytes) else "",
)
def test_no_json(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert refusal(path).startswith(said)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": ["a"]}, 'is not allowed: name is ["a"], and must be a string'),
        ({"name": None}, "is not allowed: name is null, and must be a string"),
        ({"train": [1]}, "is not allowed: train is [1], and must be a JSON object"),
        ({"train": {}}, "is not allowed: train.steps is missing, and must be a whole number"),
        ({"train": {"steps": True}}, "is not allowed: train.steps is true, and must be a whole number"),
        ({"train": {"steps": 3, "rate": "1"}}, 'is not allowed: train.rate is "1", and must be a number'),
        ({"train": {"steps": 3, "rate": 1.5, "best": 1}}, "is not allowed: train.best is 1, and must be a string"),
        ({"name": list(range(1000))}, "is not allowed: name is [0, 1, 2, 3, "),
    ],
)
def test_another_shape(tmp_path, change, said):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**GOOD, **change}))
    message = refusal(path, keys=KEYS)
    assert message.startswith(said)
    assert len(message) < 150


def test_another_whole():
    """Also of a value in a list, which may be anything."""
    with pytest.raises(ValueError, match="^an entry is not allowed: name is missing"):
        check_keys(["name"], "an entry", {"name": str})


def test_what_is_no_file(tmp_path, monkeypatch):
    """A pipe or a device might never end, and a link may lead to one."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("/dev/zero")
    for name in ("pipe.json", "link.json", ""):
        assert refusal(tmp_path / name) == "cannot be read: it must be a file"
    monkeypatch.setattr(checked_json, "MAX_BYTES", 10)
    (tmp_path / "large.json").write_text('"' + "x" * 10)
    assert refusal(tmp_path / "large.json") == "cannot be read: it has more than 10 bytes"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a name, ä 中\n\t", "a name, ä 中\n\t"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("\x9b2J\x7f\0\r", "\\x9b2J\\x7f\\x00\\r"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_printable(text, shown):
    """Nothing that steers a terminal, or shows text in another order than it has."""
    assert printable(text) == shown
