"""Articles of a Wikipedia dump as plain prose, by gensim's reader."""

import bz2
import re
from xml.etree.ElementTree import ParseError

from bert.corpus.base import CorpusError
from bert.corpus.segments import CLOSING, MARKS

ARTICLES = ("0",)  # the namespace; others have talk pages, templates and the like
MIN_LINE_CHARS = 20  # characters

_ENDS_A_SENTENCE = re.compile(rf"[{MARKS}][{CLOSING}]*$")
_QUOTES = re.compile("'{2,}")  # italics and bold
_OPENED = re.compile(r"\(\s*[;:,]\s*")  # what a removed template leaves: "( ; born 1809)"
_EMPTY = re.compile(r"\(\s*\)")
_BEFORE = re.compile(r"\s+([,.;:!?)])")
_SPACES = re.compile(r"\s+")


def read_dump(path):
    """Yields the wiki markup of each article of a dump (.xml.bz2), as str.

    Raises:
      CorpusError: a file that is cut off or is not a dump; names it and how far it could be read.
    """
    import tensorflow as tf
    from gensim.corpora.wikicorpus import extract_pages

    pages = 0
    try:
        with tf.io.gfile.GFile(path, "rb") as file, bz2.open(file) as xml:
            for _, markup, _ in extract_pages(xml, ARTICLES):
                pages += 1
                yield markup
    except (EOFError, OSError, ParseError, ValueError, RuntimeError, tf.errors.OpError) as error:
        if not pages:
            raise CorpusError(f"{path}: it is not a Wikipedia dump (.xml.bz2): {error}") from error
        raise CorpusError(f"{path}: it is cut off or damaged after {pages:,} pages: {error}") from error


def prose(markup):
    """The running text of an article, with blank lines between paragraphs, without headings, lists, tables and captions.

    Args:
      markup: str.

    Returns:
      str, "" for a page without prose, such as a redirection.
    """
    from gensim.corpora.wikicorpus import filter_wiki

    lines = (line.strip() for line in filter_wiki(markup).split("\n"))
    found = "\n\n".join(_tidy(line) for line in lines if _is_prose(line))
    return found.encode(errors="ignore").decode()  # markup can spell half of a surrogate pair, which is not a character


def _is_prose(line):
    return len(line) >= MIN_LINE_CHARS and line[0] not in "*#:;|!{=" and _ENDS_A_SENTENCE.search(line) is not None


def _tidy(line):
    """Removes what is left over from removed markup."""
    for pattern, text in ((_QUOTES, ""), (_OPENED, "("), (_EMPTY, ""), (_BEFORE, r"\1"), (_SPACES, " ")):
        line = pattern.sub(text, line)
    return line.strip()
