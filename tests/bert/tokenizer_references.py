"""Small vocabularies, hard texts, and the tokenizers that ours are compared with."""
# ruff: noqa: RUF001, letters that look like others are meant

import io
import random
import unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from transformers import AlbertTokenizer, BertTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Of scripts that differ in what BERT does to them: case and accents, ideographs, syllables that decompose, marks that stay.
LETTERS = "abcdefghijklmnopqrstuvwxyzßæøðłıαβγσςωжйяאבاب가각힣각中国語㐀𠀀ゴかक्षिกำไ0123456789²½™"
CAPITAL_SIGMA = "Σ"  # in lower case it depends on what follows; replaced alone, it does not
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~—…“”¿。、·"
SENTENCES = """
The quick brown fox jumps over the lazy dog, and in 1,000 cases out of 2,500 the dog does not mind at all.
It was a good film; the acting was "great", but 9,9 is not a number that a film (or its maker) should be given.
In 1889, 3 of the 12 towers were built by people who had never seen a tower before, according to one source.
There is no reason why a small model should not learn that words repeat, repeat, and then repeat once more.
``Quotes'' of this kind are found in older sets of text, where they were typed as two signs each.
""".strip().splitlines()
TEXTS = {
    "plain": "The quick brown fox, jumping.",
    "accents": "Ça déjà vu, naïve ANGSTRÖM Ångström e\u0301te\u0301 İstanbul ǅ",
    "ideographs": "中国人 speaks 日本語 and中a国b 㐀𠀀",
    "syllables": "한국어 각힣 ᄀ",
    "marks": "क्षि กำ क\u200dष",
    "emoji": "good 👍🏽 film 👩\u200d👩\u200d👧 ❤\ufe0f 🇫🇷",
    "control characters": "so\u00adft zero\u200bwidth \u0007bell a\u0085b \ufeffmark x\0y rep\ufffdlaced",
    "white space": "a\tb\nc\r\nd\u00a0e\u2003f\u3000g\u2028h\u2029i\x0bj\x0ck   l ",
    "punctuation": "wait… — “what”? ¿no? a.b,c;d e_f [MASK] [UNK] ##ing 。、·",
    "compatible": "ﬁne ™ ½ ² № Ⅳ ：ａｂｃ ß ſ",
    "empty": "",
    "only spaces": "   \t ",
    "only what is left out": "\u200b\u00ad\0",
}


def write_vocabulary(path, extra=()):
    """A vocab.txt: special tokens, LETTERS and PUNCTUATION and what they decompose to, words, random pieces; each with ## too."""
    draw = random.Random(0)
    letters = sorted({part for letter in LETTERS for part in (letter, *unicodedata.normalize("NFKD", letter))})
    letters = [letter for letter in letters if unicodedata.category(letter) != "Mn"]
    pieces = {"".join(draw.choices(letters, k=size)) for size in (2, 2, 2, 2, 3, 4) for _ in range(100)}
    words = {word for sentence in SENTENCES for word in sentence.lower().split() if word.isalpha()}
    words |= {word[:3] for word in words} | {"deja", "vu", "istanbul", "film", "don't", "a.b", "..", "##"}
    tokens = [*SPECIAL, "[unused0]", *letters, *PUNCTUATION, *sorted(words), *sorted(pieces), *extra]
    tokens += ["##" + token for token in (*letters, *sorted(words), *sorted(pieces)) if token != "##"]
    path.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    return path


def write_sentence_piece(path, vocabulary=300, pieces=(), **settings):
    """A SentencePiece model of SENTENCES, with ALBERT's special tokens.

    Args:
      pieces: that it must have, and prefers to all others.
      settings: of the trainer, besides.
    """
    file = io.BytesIO()
    settings = {"control_symbols": SPECIAL[2:], "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, **settings}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence.lower() for sentence in SENTENCES] * 4),
        model_writer=file,
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(file.getvalue())
    learned = {piece.piece: piece for piece in model.pieces}
    for piece in pieces:
        (learned.get(piece) or model.pieces.add(piece=piece)).score = 0
    path.write_bytes(model.SerializeToString())
    return path


class BertReference:
    """Hugging Face's BertTokenizer without what it does before BERT's rules apply: tokens typed in a text are text."""

    def __init__(self, path, lower_case):
        self._tokenizer = BertTokenizer(str(path), do_lower_case=lower_case)

    def words(self, text):
        return self._tokenizer.basic_tokenizer.tokenize(text)

    def tokens(self, text):
        return [token for word in self.words(text) for token in self._tokenizer.wordpiece_tokenizer.tokenize(word)]


class AlbertReference:
    """Hugging Face's AlbertTokenizer in the same way."""

    def __init__(self, path, lower_case):
        self._tokenizer = AlbertTokenizer(str(path), do_lower_case=lower_case)
        self._pieces = self._tokenizer.sp_model

    def tokens(self, text):
        """As they are after a look-up: what the model lacks is <unk>."""
        pieces = self._tokenizer._tokenize(text)
        return [self._pieces.id_to_piece(self._pieces.piece_to_id(piece)) for piece in pieces]


def random_texts(seed, allowed, count=3000):
    """Of letters, punctuation and white space, and a few of all code points; without what `differs_by_version`.

    Args:
      allowed: function of a character.
    """
    draw = random.Random(seed)
    often = list(
        LETTERS + LETTERS.upper() + PUNCTUATION + "aeiou" * 5 + " " * 40 + "\t\n\u00a0\u00ad\u200b\u200d\u2028\0\x7f\u0301"
    )
    ranges = [0x100, 0x300, 0x3000, 0x10000, 0x20000, 0x110000]

    def character():
        return draw.choice(often) if draw.random() < 0.9 else chr(draw.randrange(draw.choice(ranges)))

    texts = []
    for _ in range(count):
        drawn = [character() for _ in range(draw.randrange(40))]
        texts.append("".join(c for c in drawn if allowed(c) and c != CAPITAL_SIGMA and not differs_by_version(c)))
    return texts


def differs_by_version(character):
    """What Hugging Face leaves out and BERT keeps: what has no meaning in Python's version of Unicode, or a private one."""
    return unicodedata.category(character) in ("Cn", "Co", "Cs")


def composes(character):
    """Whether it changes with what stands before it, where texts are composed or put in canonical order."""
    category = unicodedata.category(character)
    return category.startswith("M") or unicodedata.normalize("NFC", character) != character or 0x1100 <= ord(character) < 0x1200
