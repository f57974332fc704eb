"""One table of names: each tensor of Hugging Face's BERT and ALBERT, and the weight of ours that it is.

PyTorch keeps the kernel of a linear layer as [outputs, inputs], Keras as [inputs, outputs]. The norms of all blocks are rows of
one weight here. Nothing else differs.
"""

from typing import NamedTuple


class Name(NamedTuple):
    """A line of the table.

    Attributes:
      theirs: name of their tensor, without the prefix of the model that it is a part of.
      ours: full name of our weight.
      shape: of their tensor; an axis is a number or the name of one of our settings.
      is_transposed: whether our weight is the transpose.
      row: their tensor is this row of our weight; None where it is the whole weight.
    """

    theirs: str
    ours: str
    shape: tuple
    is_transposed: bool = False
    row: int | None = None


# Their heads, by the task of a model of ours that has them. "pooler" is a part of the encoder in theirs.
HEADS = ("pooler", "mlm_logits", "next_sentence", "classifier", "span")


def encoder_names(family, instances, projection):
    """The lines of embedding and encoder; the names of theirs begin at the encoder ("embeddings...").

    Args:
      family: "bert" or "albert".
      instances: blocks of a BERT, or groups of an ALBERT.
      projection: whether the embedding is projected, as always in an ALBERT.
    """
    kinds = (("word", "word", "vocab_size"), ("position", "position", "max_length"), ("token_type", "type", "type_vocab_size"))
    names = [
        Name(f"embeddings.{theirs}_embeddings.weight", f"embedding/{ours}_embedding", (size, "embedding_dim"))
        for theirs, ours, size in kinds
    ]
    names += _norm("embeddings.LayerNorm", "embedding/norm", "embedding_dim", 0)
    if projection:
        names += _dense("encoder.embedding_hidden_mapping_in", "embedding/projection", "embedding_dim", "width")
    block = {"bert": _bert_block, "albert": _albert_block}[family]
    return names + [name for i in range(instances) for name in block(i)]


def head_names(family):
    """{head of HEADS: its lines}. The pooler's names begin at the encoder, the others' at the whole model."""
    if family == "bert":
        transform, bias, order = "cls.predictions.transform.", "cls.predictions.bias", "cls.seq_relationship"
        pooler = "pooler.dense"
    else:
        transform, bias, order = "predictions.", "predictions.bias", "sop_classifier.classifier"
        pooler = "pooler"
    return {
        "pooler": _dense(pooler, "pooler", "width", "width"),
        "mlm_logits": [
            *_dense(f"{transform}dense", "mlm_logits/dense", "width", "embedding_dim"),
            *_norm(f"{transform}LayerNorm", "mlm_logits/norm", "embedding_dim", 0),
            Name(bias, "mlm_logits/bias", ("vocab_size",)),
        ],
        "next_sentence": _dense(order, "next_sentence", "width", 2),
        "classifier": _dense("classifier", "classifier", "width", "classes"),
        "span": _dense("qa_outputs", "span/dense", "width", 2),
    }


# What their files may have twice, as a tensor of its own: a copy of the word embedding, and one of the bias.
TIED = {
    "bert": ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"),
    "albert": ("predictions.decoder.weight", "predictions.decoder.bias"),
}
QKV = ("query", "key", "value")
BLOCKS = {"bert": "encoder.layer.", "albert": "encoder.albert_layer_groups."}  # where the number of a block or group follows


def _bert_block(i):
    block = f"encoder.layer.{i}"
    return [
        *_attention([f"{block}.attention.self.{part}" for part in QKV], f"{block}.attention.output.dense", i),
        *_norm(f"{block}.attention.output.LayerNorm", "encoder/attention_norm", "width", i),
        *_feed_forward(f"{block}.intermediate.dense", f"{block}.output.dense", i),
        *_norm(f"{block}.output.LayerNorm", "encoder/ffn_norm", "width", i),
    ]


def _albert_block(i):
    block = f"encoder.albert_layer_groups.{i}.albert_layers.0"
    return [
        *_attention([f"{block}.attention.{part}" for part in QKV], f"{block}.attention.dense", i),
        *_norm(f"{block}.attention.LayerNorm", "encoder/attention_norm", "width", i),
        *_feed_forward(f"{block}.ffn", f"{block}.ffn_output", i),
        *_norm(f"{block}.full_layer_layer_norm", "encoder/ffn_norm", "width", i),
    ]


def _attention(inputs, output, i):
    pairs = zip((*inputs, output), (*QKV, "output"), strict=True)
    return [name for theirs, ours in pairs for name in _dense(theirs, f"encoder/attention_{i}/{ours}", "width", "width")]


def _dense(theirs, ours, inputs, outputs):
    return [
        Name(f"{theirs}.weight", f"{ours}/kernel", (outputs, inputs), is_transposed=True),
        Name(f"{theirs}.bias", f"{ours}/bias", (outputs,)),
    ]


def _feed_forward(first, second, i):
    return [
        Name(f"{first}.weight", f"encoder/ffn_{i}/kernel_in", ("ffn_dim", "width"), is_transposed=True),
        Name(f"{first}.bias", f"encoder/ffn_{i}/bias_in", ("ffn_dim",)),
        Name(f"{second}.weight", f"encoder/ffn_{i}/kernel_out", ("width", "ffn_dim"), is_transposed=True),
        Name(f"{second}.bias", f"encoder/ffn_{i}/bias_out", ("width",)),
    ]


def _norm(theirs, ours, size, row):
    return [Name(f"{theirs}.weight", f"{ours}/gamma", (size,), row=row), Name(f"{theirs}.bias", f"{ours}/beta", (size,), row=row)]
