"""WordPiece against Hugging Face's version of BERT's rules: characters, words, offsets; and files that are not a vocabulary."""
# ruff: noqa: RUF001, letters that look like others are meant

import sys
import time
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from bert.tokenizer import open_tokenizer
from bert.tokenizers.normalizer import normalizer
from tests.bert.tokenizer_references import (
    SPECIAL,
    TEXTS,
    BertReference,
    composes,
    differs_by_version,
    random_texts,
    write_vocabulary,
)

CASES = pytest.mark.parametrize("lower_case", [True, False])


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt")


@pytest.fixture(scope="module")
def tokenizers(vocabulary):
    """{lower_case: (ours, the reference)}."""
    return {
        lower_case: (open_tokenizer(vocabulary, lower_case), BertReference(vocabulary, lower_case))
        for lower_case in (True, False)
    }


def tokens_of(tokenizer, texts):
    """List of lists of str."""
    ids = tokenizer.tokenize(tf.constant(texts, tf.string))
    assert ids.dtype == tf.int32
    return [tokenizer.to_tokens(row) for row in ids.to_list()]


@CASES
@pytest.mark.parametrize("name", TEXTS)
def test_texts(tokenizers, lower_case, name):
    ours, reference = tokenizers[lower_case]
    # Hugging Face composes cased texts, and BERT did not.
    text = TEXTS[name] if lower_case else unicodedata.normalize("NFC", TEXTS[name])
    assert tokens_of(ours, [text]) == [reference.tokens(text)]


def test_what_the_rules_say(tokenizers):
    """By hand: lower case without accents, split at punctuation and ideographs; control characters join, white space parts."""
    ours, _ = tokenizers[True]
    assert tokens_of(ours, ["Déjà vu, FILM.中国", "fi\u00adlm", "fi\u0085lm", "fi\u2003lm"]) == [
        ["deja", "vu", ",", "film", ".", "中", "国"],
        ["film"],
        ["film"],
        ["f", "##i", "l", "##m"],
    ]
    cased, _ = tokenizers[False]
    assert tokens_of(cased, ["film Film déjà"]) == [["film", "[UNK]", "[UNK]"]]


@CASES
def test_every_character(tokenizers, vocabulary, lower_case):
    """What becomes of each in the middle of a word: nothing, other characters, a space, a token of its own."""
    ours, reference = tokenizers[lower_case]
    characters = [c for c in map(chr, range(1, sys.maxunicode + 1)) if not differs_by_version(c)]
    # Thousands that differ in nothing.
    characters = [c for i, c in enumerate(characters) if i % 50 == 0 or not ("一" < c < "\u9fff" or "가" < c < "힣" or c > "𠀀")]
    texts = tf.constant([f"a{c}a" for c in characters])
    found = normalizer("bert", lower_case).normalize(texts).numpy()
    pieces = ours.tokenize(texts).row_lengths().numpy()
    assert len(characters) > 45_000
    for c, text, count in zip(characters, found, pieces, strict=True):
        words = reference.words(unicodedata.normalize("NFC", f"a{c}a"))
        if not lower_case and unicodedata.normalize("NFC", f"a{c}a") != f"a{c}a":
            continue
        assert "".join(text.decode().split()) == "".join(words), hex(ord(c))
        assert (count > 1) == (len(reference.tokens(f"a{c}a")) > 1), hex(ord(c))


@CASES
def test_random_texts(tokenizers, lower_case):
    """Cased texts without what Hugging Face composes; and none has marks that Unicode would put in another order."""

    def allowed(c):
        if lower_case:
            return unicodedata.category(c) == "Mn" or not unicodedata.combining(c)
        return not composes(c)

    ours, reference = tokenizers[lower_case]
    texts = random_texts(int(lower_case), allowed)
    for text, found in zip(texts, tokens_of(ours, texts), strict=True):
        assert found == reference.tokens(text), repr(text)


def test_what_differs_from_hugging_face(tokenizers):
    """As BERT was: code points without a meaning are kept, cased texts are not composed, special tokens in a text are text.

    And of its own: a capital sigma at the end of a word becomes the one of the middle, since characters are replaced one by one.
    """
    ours, reference = tokenizers[True]
    cased, cased_reference = tokenizers[False]
    assert tokens_of(ours, ["fi\ue000lm", "fi\u0378lm"]) == [["[UNK]"], ["[UNK]"]]
    assert reference.tokens("fi\ue000lm") == reference.tokens("fi\u0378lm") == ["film"]
    assert tokens_of(cased, ["e\u0301"]) == [["[UNK]"]]
    assert cased_reference.words("e\u0301") == ["é"]
    assert tokens_of(ours, ["[MASK] [UNK]"])[0][0] == "["
    assert 4 not in ours.tokenize(["[MASK] [SEP] [CLS] [PAD]"]).to_list()[0]
    assert tokens_of(ours, ["ΩΣ"]) == [["ω", "##σ"]]
    assert reference.tokens("ΩΣ") == ["ω", "##ς"]


@CASES
def test_bytes_that_are_not_utf8(tokenizers, lower_case):
    """Are left out, as Python does when it ignores errors; nothing else is lost."""
    random = np.random.default_rng(0)
    often = [0x20, 0x61, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 0xED, 0xA0, 0xC0, 0xF4, 0x90, 0xE0, 0xF8, 0xFE]
    texts = [bytes(random.choice(often, 12).tolist()) for _ in range(20_000)] + [bytes([b]) for b in range(256)]
    kept = [text.decode(errors="ignore") for text in texts]
    assert sum(text.encode() != raw for text, raw in zip(kept, texts, strict=True)) > 10_000
    ours, _ = tokenizers[lower_case]
    assert tokens_of(ours, texts) == tokens_of(ours, kept)


class TestLongWords:
    @pytest.mark.parametrize("letter", ["a", "é", "ж", "ก", "한"])
    def test_characters_are_counted(self, tokenizers, letter):
        """100 are allowed, of what is left after normalization; the 101st makes the word unknown, and that word alone."""
        ours, reference = tokenizers[True]
        for count in (32, 33, 34, 49, 50, 51, 99, 100, 101, 102, 300, 401):
            text = f"the {letter * count}, {letter * 3}"
            assert tokens_of(ours, [text, text]) == [reference.tokens(text)] * 2, count

    def test_unknown_words_stay_one_token(self, tokenizers):
        ours, reference = tokenizers[True]
        for text in ("a" * 99 + "\ue000", "\ue000" * 99 + "a", "a" * 300 + "\ue001 " + "a" * 101):
            assert tokens_of(ours, [text]) == [["[UNK]"] * len(text.split())]

    @pytest.mark.parametrize("piece", ["a", "a ", "é", "中", "\u200b", ".", "\ue000", "lorem Ipsum, ", "\0", "##"])
    def test_a_megabyte(self, tokenizers, piece):
        """In a time that is not quadratic: on this project's machines about 0.1 s, with room for slower ones."""
        ours, _ = tokenizers[True]
        text = (piece * (2**20 // len(piece.encode()))).encode()
        start = time.perf_counter()
        ids, starts, ends = ours.tokenize_with_offsets([text])
        assert time.perf_counter() - start < 10
        assert ids.to_list() == ours.tokenize([text]).to_list()
        assert ends.to_list()[0][-1:] in ([], [len(text)], [len(text.rstrip())])
        assert len(starts.to_list()[0]) == len(ids.to_list()[0])


class TestOffsets:
    @CASES
    def test_by_property(self, tokenizers, lower_case):
        """Whole characters, in order, which normalized are the token; of parts of one character each has it whole."""
        ours, reference = tokenizers[lower_case]

        def allowed(c):
            return unicodedata.category(c) == "Mn" or not unicodedata.combining(c)

        texts = [*TEXTS.values(), *random_texts(2, allowed)]
        ids, starts, ends = ours.tokenize_with_offsets(texts)
        assert starts.dtype == ends.dtype == tf.int64
        assert ids.to_list() == ours.tokenize(texts).to_list()
        of_parts = 0
        for text, *row in zip(texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True):
            before = 0
            for i, start, end in zip(*row, strict=True):
                part = text.encode()[start:end].decode()
                assert before <= start < end
                before = start
                token, whole = ours.to_tokens([i])[0].removeprefix("##"), "".join(reference.words(part))
                if token != "[UNK]":
                    if lower_case:
                        assert token in whole
                        of_parts += token != whole
                    else:
                        assert unicodedata.normalize("NFC", token) == whole
        assert lower_case == (of_parts > 0)  # of syllables

    @pytest.mark.parametrize(
        "text, expected",
        [
            ("Déjà vu", ["Déjà", "vu"]),
            ("de\u0301ja\u0300 vu", ["de\u0301ja\u0300", "vu"]),  # with the accents
            (" fi\u00adlm, a", ["fi\u00adlm", ",", "a"]),
            ("a\u200b b", ["a\u200b", "b"]),  # what is left out goes with the token before it
            ("\u200ba", ["a"]),
            ("中a国", ["中", "a", "国"]),
            ("각", ["각", "각", "각"]),  # three jamo
            ("👍 film", ["👍", "film"]),
            ("a" * 101 + " b", ["a" * 101, "b"]),
            ("", []),
        ],
    )
    def test_by_hand(self, tokenizers, text, expected):
        ours, _ = tokenizers[True]
        _, starts, ends = (ragged.to_list()[1] for ragged in ours.tokenize_with_offsets(["another one", text]))
        assert [text.encode()[start:end].decode() for start, end in zip(starts, ends, strict=True)] == expected

    def test_punctuation_newer_than_tensorflow(self, tokenizers):
        """Python 3.10 and later know U+2E52; TensorFlow Text does not."""
        ours, _ = tokenizers[True]
        ids, starts, ends = (ragged.to_list()[0] for ragged in ours.tokenize_with_offsets(["a\u2e52a"]))
        assert ours.to_tokens(ids) == ["a", "[UNK]", "a"]
        assert (starts, ends) == ([0, 1, 4], [1, 4, 5])


def test_tables(tokenizers, vocabulary):
    ours, _ = tokenizers[True]
    tokens = vocabulary.read_text().splitlines()
    assert ours.size == len(tokens)
    assert ours.ids == (0, 1, 2, 3, 4)
    assert [token for token, special in zip(tokens, ours.special, strict=True) if special] == [*SPECIAL, "[unused0]"]
    assert [bool(c) for c in ours.continues] == [token.startswith("##") and token != "##" for token in tokens]
    assert ours.to_tokens([4, 0]) == ["[MASK]", "[PAD]"]
    ids = ours.tokenize(["Déjà vu, 중 film"]).to_list()[0]
    assert " ".join(ours.to_tokens(ids)).replace(" ##", "") == "deja vu , [UNK] film"


def test_no_texts(tokenizers):
    ours, _ = tokenizers[True]
    ids, starts, ends = ours.tokenize_with_offsets(tf.constant([], tf.string))
    assert ids.to_list() == starts.to_list() == ends.to_list() == ours.tokenize(tf.constant([], tf.string)).to_list() == []


class TestFiles:
    @staticmethod
    def refusal(tmp_path, content):
        path = tmp_path / "vocab.txt"
        path.write_bytes(content)
        with pytest.raises(ValueError) as refused:
            open_tokenizer(path)
        assert str(refused.value).startswith(f"{path}")
        return str(refused.value).removeprefix(str(path))

    @pytest.mark.parametrize("missing", SPECIAL)
    def test_special_token_missing(self, tmp_path, missing):
        content = "\n".join([*(token for token in SPECIAL if token != missing), "a"]).encode()
        assert self.refusal(tmp_path, content).startswith(f": {missing} is missing")

    @pytest.mark.parametrize(
        "content, problem",
        [
            (b"", ": it is empty"),
            (b"\n", ", line 1: it has no token"),
            (b"[PAD]\na\nb\na\n", ", line 4: a is a duplicate of line 2"),
            (b"[PAD]\n\nb\n", ", line 2: it has no token"),
            (b"[PAD]\nb\n\n", ", line 3: it has no token"),
            (b"[PAD]\ncaf\xe9\n", ", line 2: it is not UTF-8 (unexpected end of data at byte 4)"),
            (b"\xff\xfe[\0P\0", ", line 1: it is not UTF-8 (invalid start byte at byte 1)"),
            (b"[PAD]\n" + b"a" * 257, ", line 2: a token of 257 bytes is too long: at most 256"),
            (b"[PAD]\nb\0c", ", line 2: 'b\\x00c' has a null character, which is removed from all texts"),
        ],
    )
    def test_line(self, tmp_path, content, problem):
        assert self.refusal(tmp_path, content) == problem

    def test_no_file(self, tmp_path):
        with pytest.raises(ValueError, match=r"gone\.txt: the file does not exist"):
            open_tokenizer(tmp_path / "gone.txt")
        with pytest.raises(ValueError, match="the file does not exist"):
            open_tokenizer(tmp_path)

    def test_line_ends(self, tmp_path):
        """Of Windows, whose mark may come first; the last may be missing; signs that only Python takes for ends are tokens."""
        path = tmp_path / "vocab.txt"
        path.write_bytes("\r\n".join([*SPECIAL, "\u2028", "a", "\x85", "b"]).encode("utf-8-sig"))
        ours = open_tokenizer(path)
        assert ours.to_tokens(range(5, 9)) == ["\u2028", "a", "\x85", "b"]
        assert ours.tokenize(["b a"]).to_list() == [[8, 6]]

    def test_order_is_free(self, tmp_path):
        path = tmp_path / "vocab.txt"
        path.write_text("\n".join(["a", "##b", *reversed(SPECIAL)]))
        ours = open_tokenizer(str(path))
        assert ours.ids == (6, 5, 4, 3, 2)
        assert ours.tokenize(["ab x"]).to_list() == [[0, 1, 5]]
