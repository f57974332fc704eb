"""A model of this zoo in Hugging Face's layout: a BERT or an ALBERT with its head, vocabulary and configs."""

import json

import numpy as np

from bert.conversion.names import encoder_names, head_names
from bert.conversion.settings import config_of
from bert.tokenizers.sentencepiece_model import read_model
from bert.tokenizers.wordpiece import SPECIAL, read_vocabulary

# What follows "Bert" and "Albert" in the names of their classes, and the heads of ours that those have.
CLASSES = {
    "encoder": ("Model", ("pooler",)),
    "embedding": ("Model", ("pooler",)),
    "classification": ("ForSequenceClassification", ("pooler", "classifier")),
    "span": ("ForQuestionAnswering", ("span",)),
    "pretraining": ("ForPreTraining", ("pooler", "mlm_logits", "next_sentence")),
}
TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NORMALIZE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}


def hugging_face(settings, weights, class_names=()):
    """The tensors and the config of a model.

    Args:
      settings: dict, all settings of the model and its `task`.
      weights: {full name: array}. Of an embedding and an encoder the pooler may be missing.
      class_names: names of the classes; () for their numbers.

    Returns:
      ({name: float32 array}, dict for config.json).

    Raises:
      ValueError: what neither a BERT nor an ALBERT of theirs can be, in words that complete "... is not allowed: ".
    """
    task = settings["task"]
    config, family, instances = config_of(settings)
    ending, heads = CLASSES[task]
    config["architectures"] = [f"{'Bert' if family == 'bert' else 'Albert'}{ending}"]
    if task == "classification":
        names = [str(name) for name in class_names] or [f"LABEL_{i}" for i in range(settings["classes"])]
        config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        if settings["classes"] == 1:
            config["problem_type"] = "regression"
    inside = "" if ending == "Model" else f"{family}."
    names = [name._replace(theirs=inside + name.theirs) for name in encoder_names(family, instances, family == "albert")]
    of_heads = head_names(family)
    for head in heads:
        if of_heads[head][0].ours in weights:
            prefix = inside if head == "pooler" else ""
            names += [name._replace(theirs=prefix + name.theirs) for name in of_heads[head]]
    tensors = {}
    for name in names:
        value = weights[name.ours] if name.row is None else weights[name.ours][name.row]
        tensors[name.theirs] = np.asarray(value.T if name.is_transposed else value, np.float32)
    return tensors, config


def tokenizer_files(content, path, lower_case, max_length):
    """{file name: bytes or dict} of a tokenizer of theirs, and the id of its padding.

    Args:
      content: bytes of the vocabulary of ours.
      path: of it, a string that ends with .model where it is a SentencePiece model.
      lower_case: bool, of `data`.
      max_length: of the model, in tokens.
    """
    common = dict(
        do_lower_case=lower_case, model_max_length=max_length, cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    if path.endswith(".model"):
        _, pieces, _ = read_model(content, path)
        ends = dict(
            bos_token="[CLS]", eos_token="[SEP]", unk_token="<unk>", pad_token="<pad>", keep_accents=False, remove_space=True
        )
        config = dict(tokenizer_class="AlbertTokenizer", **common, **ends)
        return {"spiece.model": content, "tokenizer_config.json": config}, pieces.index("<pad>")
    tokens = read_vocabulary(content, path)
    ends = dict(unk_token=SPECIAL.unk, pad_token=SPECIAL.pad, strip_accents=None, tokenize_chinese_chars=True)
    config = dict(tokenizer_class="BertTokenizer", **common, **ends)
    return {"vocab.txt": content, "tokenizer_config.json": config}, tokens.index(SPECIAL.pad)


def sentence_files(width, max_length):
    """{file name: bytes or dict} with which Sentence Transformers opens a model of embeddings: means over tokens, of length 1."""
    modes = dict(pooling_mode_cls_token=False, pooling_mode_mean_tokens=True, pooling_mode_max_tokens=False)
    return {
        "modules.json": json.dumps([TRANSFORMER, POOLING, NORMALIZE], indent=2).encode(),
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": width, **modes, "pooling_mode_mean_sqrt_len_tokens": False},
    }
