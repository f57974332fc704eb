"""What tests of pretraining data share: a small vocabulary, and English to make documents of."""

import bz2
import random

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = """the a old new small red river mountain house bird child teacher winter summer saw heard built left found under over
near behind with and but because slowly again never always""".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;!?'\"()-"


def write_vocabulary(path):
    """A BERT vocab.txt of WORDS and of the letters that other words are made of."""
    tokens = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *(word for word in WORDS if len(word) > 1)]
    path.write_text("".join(f"{token}\n" for token in tokens))
    return path


def document(seed, sentences=20):
    """Text of some paragraphs; it begins with a number of its own."""
    draw = random.Random(seed)
    made = [f"{seed:03d} begins."]
    for _ in range(sentences):
        words = [draw.choice(WORDS) for _ in range(draw.randint(3, 14))]
        made.append(" ".join(words).capitalize() + draw.choice(".!?."))
    return "".join(sentence + draw.choice(["  ", " ", "\n\n"]) for sentence in made).strip()


def documents(number):
    """Documents of several lengths."""
    return [document(seed, sentences=1 + 7 * seed % 40) for seed in range(number)]


def write_texts(folder, texts):
    """A file for each document."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{number:03d}.txt").write_text(text)
    return folder


def write_dump(path, pages):
    """A Wikipedia dump.

    Args:
      path: a pathlib.Path.
      pages: list of (title, namespace, wiki markup).
    """
    entries = "".join(
        f"<page><title>{title}</title><ns>{namespace}</ns><id>{number}</id>"
        f"<revision><id>1</id><text xml:space='preserve'>{markup}</text></revision></page>\n"
        for number, (title, namespace, markup) in enumerate(pages)
    )
    xml = (
        "<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.10/'><siteinfo><sitename>W</sitename></siteinfo>\n"
        f"{entries}</mediawiki>"
    )
    path.write_bytes(bz2.compress(xml.encode()))
    return path
