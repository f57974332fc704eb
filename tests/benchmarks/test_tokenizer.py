"""The cases of the tokenizer benchmark."""

import pytest

from benchmarks.tokenizer import TEXTS_PER_CALL, add_rates, cases, first_texts, tokenizer
from tests.bert.tokenizer_references import SENTENCES, write_vocabulary


@pytest.fixture
def corpus(tmp_path):
    """More files than one call takes."""
    for number in range(TEXTS_PER_CALL + 1):
        (tmp_path / f"{number:03}.txt").write_text(SENTENCES[0])
    return f"{tmp_path}/*.txt"


def test_first_texts(corpus):
    """As few as reach the size, or all."""
    size = len(SENTENCES[0]) / 1e6
    assert first_texts(corpus, 2.5 * size) == [SENTENCES[0]] * 3
    assert first_texts(corpus, 1e9 * size) == [SENTENCES[0]] * (TEXTS_PER_CALL + 1)


def test_cases(corpus, tmp_path):
    vocabulary = write_vocabulary(tmp_path / "vocab.of.texts")
    for case in cases(vocabulary, corpus, megabytes=1):
        step, facts = tokenizer(**case.settings)
        step()
        assert facts["megabytes"] == pytest.approx((TEXTS_PER_CALL + 1) * len(SENTENCES[0]) / 1e6)


def test_rates():
    rows = [dict(facts={"megabytes": 3.0}, median_seconds=0.5)]
    assert add_rates(rows) == {}
    assert rows[0]["facts"]["MB a second"] == 6
