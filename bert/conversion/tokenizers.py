"""The vocabulary and the casing of a model that was made elsewhere, as the files beside its weights say."""

import json
import pathlib
from typing import NamedTuple

from bert.tokenizers.sentencepiece_model import SPECIAL as PIECES
from bert.tokenizers.sentencepiece_model import read_model
from bert.tokenizers.wordpiece import SPECIAL, UNUSED, read_vocabulary
from official.conversion.files import read_json
from official.conversion.source import listed

WORDPIECE, SENTENCEPIECE = "vocab.txt", ("spiece.model", "30k-clean.model")
FAST, CONFIG, ADDED = "tokenizer.json", "tokenizer_config.json", "added_tokens.json"
SENTENCES, MODULES = "sentence_bert_config.json", "modules.json"


class Vocabulary(NamedTuple):
    """What a tokenizer of ours needs.

    Attributes:
      name: for a file, "vocab.txt" or "vocabulary.model".
      content: bytes of that file.
      tokens: their number.
      lower_case: whether texts become lower case and lose their accents.
      notes: list of sentences that the user should read.
    """

    name: str
    content: bytes
    tokens: int
    lower_case: bool
    notes: list


def find_vocabulary(folder, path=None, lower_case=None):
    """The Vocabulary of a model.

    Args:
      folder: pathlib.Path, where the model's other files lie.
      path: of a vocab.txt or a SentencePiece model; None for the one in the folder.
      lower_case: bool; None as the files in the folder say.

    Returns:
      A Vocabulary; None where the folder has none.

    Raises:
      ValueError: a file that cannot be read, or a tokenizer that has no counterpart here; names it.
    """
    found = _content(folder, path)
    if found is None:
        return None
    place, content = found
    is_wordpiece = not str(place).endswith(".model")
    if is_wordpiece:
        tokens = read_vocabulary(content, place)
        special = [token in SPECIAL or UNUSED.fullmatch(token) is not None for token in tokens]
    else:
        _, tokens, _ = read_model(content, place)
        special = [token in PIECES or token.startswith("<") for token in tokens]
    notes = []
    if lower_case is None:
        lower_case = _casing(folder)
    if lower_case is None:
        lower_case = not any(token != token.lower() for token, skip in zip(tokens, special, strict=True) if not skip)
        has = "no token with a capital letter" if lower_case else "tokens with capital letters"
        notes.append(f"its casing is not said, and taken from the vocabulary, which has {has}: lower_case={lower_case}")
    added = _added(folder, len(tokens)) if path is None else []
    if added:
        notes.append(f"tokens that were added to the vocabulary are left out, and in texts split into others: {listed(added)}")
    return Vocabulary("vocab.txt" if is_wordpiece else "vocabulary.model", content, len(tokens), lower_case, notes)


def longest_text(folder):
    """The most tokens of a sentence that Sentence Transformers gives the model in a folder; None where it does not say."""
    path = folder / SENTENCES
    length = read_json(path).get("max_seq_length") if path.is_file() else None
    return length if isinstance(length, int) and length > 0 else None


def check_pooling(folder):
    """Refuses a model of Sentence Transformers whose embeddings are no means over tokens, as its files say.

    Returns:
      List of sentences that the user should read.

    Raises:
      ValueError: names the file, and what is made instead where the task is given.
    """
    path = folder / MODULES
    modules = read_json(path, list) if path.is_file() else []
    known = ("Transformer", "Pooling", "Normalize")
    kinds = []
    for module in modules:
        if not isinstance(module, dict):
            raise ValueError(f"{path} cannot be read: it must list a JSON object for each layer")
        kind = str(module.get("type", "")).rpartition(".")[2]
        kinds.append(kind)
        file = folder / str(module.get("path", "")) / "config.json"
        pooling = read_json(file) if kind == "Pooling" and file.is_file() else {}
        modes = [mode for mode, is_on in pooling.items() if mode.startswith("pooling_mode_") and is_on]
        if kind not in known or modes not in ([], ["pooling_mode_mean_tokens"]):
            what = f"{file} has {' and '.join(modes)}" if modes else f"{path} has a layer {kind}"
            raise ValueError(
                f"{what}: embeddings here are means over tokens; with --task=embedding they are made of this encoder"
            )
    if kinds and "Normalize" not in kinds:
        return [f"embeddings have length 1 here, and {path} has no layer Normalize: cosines are equal, dot products are not"]
    return []


def _content(folder, path):
    """(pathlib.Path, bytes of a file in a form that bert.tokenizer.open_tokenizer reads), or None."""
    if path is not None:
        place = pathlib.Path(path)
        if not place.is_file():
            raise ValueError(
                f"vocabulary={str(path)!r} is not allowed: it must be the path of a vocab.txt or a SentencePiece .model"
            )
        return place, place.read_bytes()
    for name in (WORDPIECE, *SENTENCEPIECE):
        if (folder / name).is_file():
            return folder / name, (folder / name).read_bytes()
    if not (folder / FAST).is_file():
        return None
    model = read_json(folder / FAST).get("model")
    words = model.get("vocab") if isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece" else None
    if not isinstance(words, dict):
        raise ValueError(f"{folder / FAST} has no WordPiece vocabulary; a SentencePiece model is needed as {SENTENCEPIECE[0]}")
    if set(map(type, words.values())) != {int} or sorted(words.values()) != list(range(len(words))):
        raise ValueError(f"{folder / FAST}: the ids of its {len(words)} tokens must be 0 to {len(words) - 1}")
    return folder / FAST, "".join(f"{token}\n" for token in sorted(words, key=words.get)).encode()


def _added(folder, tokens):
    """The tokens that a tokenizer has in addition to its vocabulary; tokenizers here have no such tokens."""
    found = read_json(folder / ADDED) if (folder / ADDED).is_file() else {}
    of_fast = read_json(folder / FAST).get("added_tokens") if (folder / FAST).is_file() else None
    for token in of_fast if isinstance(of_fast, list) else []:
        found |= {str(token.get("content")): token.get("id")} if isinstance(token, dict) else {}
    return [token for token, number in found.items() if isinstance(number, int) and number >= tokens]


def _casing(folder):
    """Whether texts become lower case, as the tokenizer's files say; None where they do not.

    Raises:
      ValueError: a tokenizer that cannot be represented.
    """
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    steps = _normalizers(read_json(folder / FAST)) if (folder / FAST).is_file() else {}
    fast = steps.get("BertNormalizer", {})
    said = {
        "do_lower_case": fast.get("lowercase", "Lowercase" in steps if steps else None),
        "strip_accents": "StripAccents" in steps if steps and not fast else fast.get("strip_accents"),
        "tokenize_chinese_chars": fast.get("handle_chinese_chars"),
        **{setting: value for setting, value in config.items() if value is not None},
    }
    lower_case = said["do_lower_case"]
    needed = {"strip_accents": lower_case, "tokenize_chinese_chars": True, "keep_accents": False}
    for setting, value in needed.items():
        if said.get(setting) not in (None, value):
            raise ValueError(
                f"{folder} has a tokenizer with {setting}={json.dumps(said[setting])}, which those here cannot be; where "
                "lower_case is given, this is not looked at"
            )
    return lower_case if lower_case is None else bool(lower_case)


def _normalizers(fast):
    """{type: step} of the normalizer of a tokenizer.json."""
    normalizer = fast.get("normalizer")
    if not isinstance(normalizer, dict):
        return {}
    steps = normalizer.get("normalizers", [normalizer])
    return {str(step.get("type")): step for step in steps if isinstance(step, dict)} if isinstance(steps, list) else {}
