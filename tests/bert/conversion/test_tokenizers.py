"""The vocabulary and the casing beside the weights."""

import json

import pytest

from bert.conversion.tokenizers import check_pooling, find_vocabulary, longest_text
from tests.bert.conversion.foreign import TOKENS

VOCABULARY = "".join(f"{token}\n" for token in TOKENS).encode()


def files(folder, vocabulary=VOCABULARY, **contents):
    if vocabulary:
        (folder / "vocab.txt").write_bytes(vocabulary)
    for stem, content in contents.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "contents, lower_case",
    [
        (dict(tokenizer_config={"do_lower_case": False, "strip_accents": None}), False),
        (dict(tokenizer_config={"do_lower_case": True}, tokenizer={"normalizer": {"type": "BertNormalizer"}}), True),
        (dict(tokenizer={"normalizer": {"type": "BertNormalizer", "lowercase": False}}), False),
        (
            dict(
                tokenizer_config={},
                tokenizer={"normalizer": {"type": "Sequence", "normalizers": [{"type": "StripAccents"}, {"type": "Lowercase"}]}},
            ),
            True,
        ),
    ],
)
def test_casing_as_the_files_say(contents, lower_case, tmp_path):
    found = find_vocabulary(files(tmp_path, **contents))
    assert found.lower_case is lower_case
    assert (found.name, found.content, found.tokens, found.notes) == ("vocab.txt", VOCABULARY, len(TOKENS), [])
    assert find_vocabulary(tmp_path, lower_case=not lower_case).lower_case is not lower_case


def test_casing_of_the_vocabulary_alone(tmp_path):
    """Special tokens have capitals in any vocabulary."""
    found = find_vocabulary(files(tmp_path))
    assert found.lower_case is True and "no token with a capital letter" in found.notes[0]
    found = find_vocabulary(files(tmp_path, VOCABULARY + b"Paris\n"))
    assert found.lower_case is False and "tokens with capital letters: lower_case=False" in found.notes[0]


def test_vocabulary_of_a_tokenizer_json(tmp_path):
    words = {token: i for i, token in reversed(list(enumerate(TOKENS)))}
    tokenizer = {"model": {"type": "WordPiece", "vocab": words}, "normalizer": {"type": "BertNormalizer"}}
    assert find_vocabulary(files(tmp_path, None, tokenizer=tokenizer)).content == VOCABULARY
    words["[PAD]"] = 99
    with pytest.raises(ValueError, match="tokenizer.json: the ids of its 30 tokens must be 0 to 29"):
        find_vocabulary(files(tmp_path, None, tokenizer=tokenizer))
    with pytest.raises(ValueError, match="has no WordPiece vocabulary; a SentencePiece model is needed as spiece.model"):
        find_vocabulary(files(tmp_path, None, tokenizer={"model": {"type": "Unigram", "vocab": []}}))


@pytest.mark.parametrize(
    "config, message",
    [
        (dict(do_lower_case=True, strip_accents=False), "strip_accents=false"),
        (dict(do_lower_case=False, strip_accents=True), "strip_accents=true"),
        (dict(do_lower_case=True, tokenize_chinese_chars=False), "tokenize_chinese_chars=false"),
        (dict(do_lower_case=True, keep_accents=True), "keep_accents=true"),
    ],
)
def test_tokenizers_without_counterpart(config, message, tmp_path):
    with pytest.raises(ValueError, match=f"a tokenizer with {message}"):
        find_vocabulary(files(tmp_path, tokenizer_config=config))
    assert find_vocabulary(tmp_path, lower_case=True).lower_case is True


def test_tokens_beyond_the_vocabulary(tmp_path):
    """Those of the vocabulary are listed in tokenizer.json, too."""
    known, new = {"content": "[CLS]", "id": 2}, {"content": "<new>", "id": len(TOKENS)}
    files(tmp_path, added_tokens={"<other>": len(TOKENS) + 1}, tokenizer={"added_tokens": [known, new]})
    (note,) = find_vocabulary(tmp_path, lower_case=True).notes
    assert note.startswith("tokens that were added to the vocabulary are left out") and note.endswith(": '<other>', '<new>'")


def test_a_normalizer_that_keeps_accents(tmp_path):
    files(tmp_path, tokenizer={"normalizer": {"type": "Lowercase"}})
    with pytest.raises(ValueError, match="a tokenizer with strip_accents=false"):
        find_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "kinds, pooling, message",
    [
        (("Transformer", "Pooling", "Normalize"), {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, None),
        (("Transformer", "Pooling"), {"pooling_mode_mean_tokens": True}, None),
        (("Transformer", "Pooling"), {"pooling_mode_cls_token": True}, "config.json has pooling_mode_cls_token: embeddings here"),
        (
            ("Transformer", "Pooling", "Dense"),
            {"pooling_mode_mean_tokens": True},
            "modules.json has a layer Dense: embeddings here",
        ),
    ],
)
def test_pooling(kinds, pooling, message, tmp_path):
    """As Sentence Transformers writes it."""
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
    modules = [{"path": paths[kind], "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (tmp_path / "1_Pooling").mkdir()
    files(files(tmp_path, modules=modules) / "1_Pooling", None, config=pooling)
    if message is None:
        (note,) = check_pooling(tmp_path) or [""]
        assert ("has no layer Normalize: cosines are equal" in note) == ("Normalize" not in kinds)
    else:
        with pytest.raises(ValueError, match=message):
            check_pooling(tmp_path)


@pytest.mark.parametrize("content", ["[", "{}", '["Transformer"]'])
def test_a_list_of_layers_that_is_none(content, tmp_path):
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ValueError, match=r"modules\.json cannot be read"):
        check_pooling(tmp_path)


def test_nothing_there(tmp_path):
    assert find_vocabulary(tmp_path) is None
    assert longest_text(tmp_path) is None
    assert longest_text(files(tmp_path, sentence_bert_config={"max_seq_length": 256})) == 256
    with pytest.raises(ValueError, match=r"vocabulary='.*none.txt' is not allowed"):
        find_vocabulary(tmp_path, tmp_path / "none.txt")
