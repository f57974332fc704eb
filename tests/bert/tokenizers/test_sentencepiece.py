"""SentencePiece models against Hugging Face's AlbertTokenizer and the sentencepiece package; and files that are not a model."""
# ruff: noqa: RUF001, letters that look like others are meant

import time
import unicodedata

import pytest
import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2
from tensorflow_text import SentencepieceTokenizer

from bert.tokenizer import open_tokenizer
from bert.tokenizers.sentencepiece_model import MAX_PIECE, read_model
from tests.bert.tokenizer_references import (
    SENTENCES,
    TEXTS,
    AlbertReference,
    random_texts,
    write_sentence_piece,
    write_vocabulary,
)

NUMBERS = ("\u25819,", "9,", "00,", "\u25812,50", "a,", "²,")
SPECIAL = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
KINDS = {
    "as ALBERT's": dict(pieces=NUMBERS, user_defined_symbols=list('().-"')),
    "special tokens that text could be": dict(control_symbols=[], user_defined_symbols=SPECIAL[2:]),
    "bytes for rare characters": dict(vocabulary=520, byte_fallback=True),
    "pairs of bytes": dict(model_type="bpe"),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """{kind: {lower_case: (ours, the reference)}}."""
    folder = tmp_path_factory.mktemp("models")
    paths = {kind: write_sentence_piece(folder / f"{kind}.model", **settings) for kind, settings in KINDS.items()}
    return {
        kind: {lower_case: (open_tokenizer(path, lower_case), AlbertReference(path, lower_case)) for lower_case in (True, False)}
        for kind, path in paths.items()
    }


def tokens_of(tokenizer, texts):
    """List of lists of str."""
    ids = tokenizer.tokenize(tf.constant(texts, tf.string))
    assert ids.dtype == tf.int32
    return [tokenizer.to_tokens(row) for row in ids.to_list()]


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_texts(tokenizers, kind, lower_case):
    ours, reference = tokenizers[kind][lower_case]
    texts = [*SENTENCES, *TEXTS.values(), *random_texts(int(lower_case), lambda c: True)]
    texts = [text.replace("\0", "") for text in texts if not any(token in text for token in SPECIAL)]
    for text, found in zip(texts, tokens_of(ours, texts), strict=True):
        assert found == reference.tokens(text), repr(text)


def test_what_the_rules_say(tokenizers):
    """By hand: lower case, no accents, one space for many, other quotes, commas off numbers."""
    ours, _ = tokenizers["as ALBERT's"][True]

    def text(typed):
        return "".join(tokens_of(ours, [typed])[0])

    assert text("  Théé\t\n  Film ``A''") == text('thee film "a"') == '▁thee▁film▁"a"'
    cased, _ = tokenizers["as ALBERT's"][False]
    assert "".join(tokens_of(cased, ["thé film"])[0]) == "▁the▁film"
    assert tokens_of(ours, ["9,9"])[0] == ["▁", "9", ",", "9"]
    assert tokens_of(ours, ["a,"])[0][-1] == "a,"  # not a number


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_a_text_are_text(tokenizers, kind):
    ours, _ = tokenizers[kind][False]
    ids = ours.tokenize(["[MASK] a [SEP]<pad>[CLS]", "[MASK]"]).to_list()
    assert not {ours.ids.mask, ours.ids.sep, ours.ids.pad, ours.ids.cls} & {*ids[0], *ids[1]}


def test_what_differs_from_hugging_face(tokenizers, tmp_path):
    """Zeros are left out, and spaces are one space whatever the model says."""
    ours, reference = tokenizers["as ALBERT's"][True]
    assert tokens_of(ours, ["a\0b"]) == tokens_of(ours, ["ab"])
    assert reference.tokens("a\0b") != reference.tokens("ab")
    several = open_tokenizer(write_sentence_piece(tmp_path / "a.model", remove_extra_whitespaces=False, **KINDS["as ALBERT's"]))
    texts = [*SENTENCES, *TEXTS.values(), "a  b", " a ", "a \u00a8 b"]
    assert tokens_of(several, texts) == tokens_of(ours, texts)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_not_utf8(tokenizers, kind):
    ours, _ = tokenizers[kind][True]
    texts = [b"fi\xfflm", b"\xc3film \xe2\x82", b"\xed\xa0\x80a"]
    assert tokens_of(ours, texts) == tokens_of(ours, ["film", "film ", "a"])


@pytest.mark.further_cases
@pytest.mark.parametrize(
    "piece, size",
    [("a", 2**20), ("a ", 2**20), ("é", 2**20), (" ", 2**20), ("``", 2**20), ("9,", 2**20), ("中", 2**16), ("中 ", 2**20)],
)
def test_long_texts(tokenizers, piece, size):
    """On this project's machines at most 3 s, with room for slower ones; unknown characters in a row take quadratic time."""
    ours, _ = tokenizers["as ALBERT's"][True]
    text = (piece * (size // len(piece.encode()))).encode()
    start = time.perf_counter()
    ids, _, ends = ours.tokenize_with_offsets([text])
    assert time.perf_counter() - start < 30
    assert ids.to_list() == ours.tokenize([text]).to_list()
    assert max(ends.to_list()[0], default=0) in (0, len(text), len(text.rstrip()))


class TestOffsets:
    @pytest.mark.parametrize("lower_case", [True, False])
    @pytest.mark.parametrize("kind", KINDS)
    def test_by_property(self, tokenizers, kind, lower_case):
        """In order, within the text, without white space before a token, and together all of the text that is not white space."""
        ours, _ = tokenizers[kind][lower_case]
        texts = [*SENTENCES, *TEXTS.values(), *random_texts(2, lambda c: True)]
        ids, starts, ends = ours.tokenize_with_offsets(texts)
        assert starts.dtype == ends.dtype == tf.int64
        assert ids.to_list() == ours.tokenize(texts).to_list()
        for text, *row in zip(texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True):
            before, reached = 0, 0
            for i, start, end in zip(*row, strict=True):
                part = text.encode()[start:end].decode()
                assert before <= start <= end
                assert not part[:1].isspace()
                assert not letters(text.encode()[reached:start].decode())
                before, reached = start, max(reached, end)
                token = ours.to_tokens([i])[0].lstrip("▁")
                if (
                    i != ours.ids.unk
                    and not token.startswith("<0x")
                    and token.isascii()
                    and part.isascii()
                    and len(part) == len(token)
                ):
                    assert token == (part.lower() if lower_case else part)
            assert not letters(text.encode()[reached:].decode())

    @pytest.mark.parametrize(
        "text, expected",
        [
            ("the  film", ["the", "film"]),
            ("  Thé\tfilm ", ["Thé", "film"]),
            ("the\u0301 film", ["the\u0301", "film"]),
            ("the ``film''", ["the", "``", "film", "''"]),
            ("the 9,99", ["the", "9", ",", "99"]),
            ("the ９,99", ["the", "９", ",", "99"]),
            ("the 9\x01,99", ["the", "9\x01,", "9\x01,", "99"]),  # longer than its token: both parts have its place
            ("", []),
        ],
    )
    def test_by_hand(self, tmp_path, text, expected):
        model = write_sentence_piece(tmp_path / "a.model", pieces=["▁the", "▁film", "▁9,", "▁9", "99", '▁"', "film", '"'])
        ours = open_tokenizer(model)
        ids, starts, ends = (ragged.to_list()[1] for ragged in ours.tokenize_with_offsets(["another one", text]))
        found = [text.encode()[start:end].decode() for start, end in zip(starts, ends, strict=True)]
        assert found == expected, ours.to_tokens(ids)


def letters(text):
    """What of a text no normalization leaves out."""
    return [c for c in text if unicodedata.category(c)[0] in "LNP" and ord(c) < 0x2000]


def test_tables(tokenizers):
    ours, _ = tokenizers["as ALBERT's"][True]
    assert ours.ids == (0, 1, 2, 3, 4)
    tokens = ours.to_tokens(range(ours.size))
    assert [token for token, special in zip(tokens, ours.special, strict=True) if special] == SPECIAL
    continues = {token for token, continues in zip(tokens, ours.continues, strict=True) if continues}
    assert continues == {token for token in tokens if token not in SPECIAL and token[0].isalnum()}
    assert {"e", "00,"} < continues
    assert not {"▁the", "▁", ",", "("} & continues
    fallback, _ = tokenizers["bytes for rare characters"][False]
    assert "".join(tokens_of(fallback, ["the 中é film"])[0]) == "▁the▁<0xE4><0xB8><0xAD>e▁film"


def test_no_texts(tokenizers):
    ours, _ = tokenizers["as ALBERT's"][True]
    ids, starts, ends = ours.tokenize_with_offsets(tf.constant([], tf.string))
    assert ids.to_list() == starts.to_list() == ends.to_list() == ours.tokenize(tf.constant([], tf.string)).to_list() == []


class TestFiles:
    @staticmethod
    def refusal(path):
        with pytest.raises(ValueError) as refused:
            open_tokenizer(path)
        assert str(refused.value).startswith(f"{path}: ")
        return str(refused.value).removeprefix(f"{path}: ")

    @pytest.mark.parametrize(
        "content",
        [
            b"a text\nof two lines\n",
            b"\n",
            b"\0" * 100,
            b"\x0a\x05a",
            b"\x0a\x04\x0a\x02\xff\xfe",
            b"\x08\x01",
            b"\x0a\x02\x0a\x00",
        ],
    )
    def test_no_model(self, tmp_path, content):
        (tmp_path / "a.model").write_bytes(content)
        assert self.refusal(tmp_path / "a.model") == "it is not a SentencePiece model"

    def test_other_files(self, tmp_path):
        (tmp_path / "empty.model").touch()
        assert self.refusal(tmp_path / "empty.model") == "it is empty"
        assert self.refusal(write_vocabulary(tmp_path / "text.model")) == "it is not a SentencePiece model"
        whole = write_sentence_piece(tmp_path / "whole.model").read_bytes()
        for share in (0.1, 0.5, 0.9, 0.99):
            (tmp_path / "part.model").write_bytes(whole[: int(share * len(whole))])
            assert self.refusal(tmp_path / "part.model") == "it is not a SentencePiece model"

    def test_a_long_piece(self, tmp_path):
        """A text that repeats it would take the square of its length."""
        longest = MAX_PIECE - 1
        assert open_tokenizer(write_sentence_piece(tmp_path / "long.model", pieces=["9" * longest + ","])).size > 0
        path = write_sentence_piece(tmp_path / "longer.model", pieces=["9" * 100_000 + ","])
        assert self.refusal(path) == f"it has a piece of 100,001 characters, and {MAX_PIECE} are allowed"

    def test_numbers_are_split_in_one_call(self, tmp_path, monkeypatch):
        """Of the comma behind them, however many there are."""
        calls, tokenize = [], SentencepieceTokenizer.tokenize
        monkeypatch.setattr(
            SentencepieceTokenizer, "tokenize", lambda self, texts: calls.append(texts.shape) or tokenize(self, texts)
        )
        open_tokenizer(write_sentence_piece(tmp_path / "a.model", pieces=[f"{number}," for number in range(50)]))
        assert calls == [[50]]

    @pytest.mark.parametrize("missing", ["[CLS]", "[SEP]", "[MASK]"])
    def test_special_token_missing(self, tmp_path, missing):
        symbols = [token for token in SPECIAL[2:] if token != missing]
        model = write_sentence_piece(tmp_path / "a.model", control_symbols=symbols)
        refusal = self.refusal(model)
        assert refusal.startswith(f"{missing} is missing")
        # What it recommends is enough.
        assert "--control_symbols=[CLS],[SEP],[MASK] --pad_id=0 --unk_id=1 --bos_id=-1 --eos_id=-1" in refusal

    def test_padding_missing(self, tmp_path):
        model = write_sentence_piece(tmp_path / "a.model", pad_id=-1, unk_id=0)
        assert self.refusal(model).startswith("<pad> is missing")


def test_model_as_read(tmp_path):
    """The same fields as before, but for what makes special tokens special and several spaces one."""
    path = write_sentence_piece(
        tmp_path / "a.model", control_symbols=[], user_defined_symbols=SPECIAL[2:], remove_extra_whitespaces=False
    )
    before = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    model, pieces, types = read_model(path.read_bytes(), path)
    after = sentencepiece_model_pb2.ModelProto.FromString(model)
    assert pieces == [piece.piece for piece in before.pieces]
    assert types == [piece.type for piece in after.pieces]
    assert not before.normalizer_spec.remove_extra_whitespaces
    before.normalizer_spec.remove_extra_whitespaces = True
    for piece in before.pieces[2:5]:
        assert piece.type == piece.USER_DEFINED
        piece.type = piece.CONTROL
    assert after == before
    assert sentencepiece.SentencePieceProcessor(model_proto=model).encode("the film") != []
