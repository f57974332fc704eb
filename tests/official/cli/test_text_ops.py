"""Without the package tensorflow-text a text model is refused in one sentence, wherever it is loaded."""

import re
import sys

import pytest
import tensorflow as tf

import official.hub
from bert.tokenizer import open_tokenizer
from official import predict
from tests.bert.prepared_texts import write_vocabulary

MISSING = "Op type not registered 'FastBertNormalizeWithOffsets' in binary running on host."


@pytest.fixture
def without_package(monkeypatch):
    def load(path):
        raise FileNotFoundError(MISSING)

    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    monkeypatch.setattr(official.hub.tensorflow_hub, "load", load)
    monkeypatch.setattr(tf.saved_model, "load", load)


def test_refused(without_package, tmp_path):
    vocabulary = write_vocabulary(tmp_path / "vocab.txt")
    version = re.match(r"\d+\.\d+", tf.__version__).group()
    said = "text models need the package tensorflow-text, which is not installed: pip install "
    said = "^" + re.escape(f"{said}'tensorflow-text=={version}.*'")
    for load in (
        lambda: open_tokenizer(vocabulary),
        lambda: official.hub.load(tmp_path),
        lambda: predict.predict(tmp_path, "rows.csv", tmp_path / "out.jsonl"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            load()
        assert "\n" not in str(error.value)


def test_other_failures_stay(tmp_path):
    with pytest.raises(OSError, match="nothing does not exist"):
        official.hub.load(tmp_path / "nothing")
