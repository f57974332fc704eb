"""Tables of names: each tensor of a published vision transformer, and the weight of ours that it is.

PyTorch keeps the kernel of a linear layer as [outputs, inputs], Keras as [inputs, outputs]. The patch projection is a convolution
in PyTorch, [width, channels, rows, columns], and in Flax, [rows, columns, channels, width]. Here it is a Dense layer on a patch's
pixels: rows, columns, channels. The norms of all blocks are rows of one weight here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vision.sizes import patch_grid, sides


class Name(NamedTuple):
    """A line of a table.

    Attributes:
      theirs: name of their tensor, without the prefix of the model that it is a part of; {i} is the number of the block.
      ours: full name of our weight. If `theirs` has {i} and this has not, each block's tensor is a row of our weight.
      axes: shape of their tensor; an axis is a number or a key of `sizes`.
      to_ours: function of their array that returns our weight.
      to_theirs: function of our weight and the shape of their tensor that returns it.
    """

    theirs: str
    ours: str
    axes: tuple
    to_ours: Callable
    to_theirs: Callable

    @property
    def is_row(self):
        """Whether their tensor is the row of one block in our weight."""
        return "{i}" in self.theirs and "{i}" not in self.ours

    def shape(self, sizes):
        """The shape of their tensor, for the sizes of a model."""
        return tuple(sizes.get(axis, axis) for axis in self.axes)


def sizes(settings):
    """{axis: length} of a model with these settings of the zoo."""
    grid, (rows, columns) = patch_grid(settings["image_size"], settings["patch_size"]), sides(settings["patch_size"])
    return dict(
        width=settings["width"],
        heads=settings["heads"],
        head_dim=settings["width"] // settings["heads"],
        ffn_dim=settings["ffn_dim"],
        classes=settings["classes"],
        channels=settings["channels"],
        tokens=grid[0] * grid[1] + (settings["pool"] == "token"),
        rows=rows,
        columns=columns,
    )


def _same(theirs, ours, *axes):
    return Name(theirs, ours, axes, np.asarray, lambda array, shape: array.reshape(shape))


def _merged(theirs, ours, *axes, to):
    """A tensor with more axes than ours, or fewer, but the values in the same order."""
    return Name(theirs, ours, axes, lambda array: array.reshape(to(array.shape)), lambda array, shape: array.reshape(shape))


def _transposed(theirs, ours, *axes):
    return Name(theirs, ours, axes, np.transpose, lambda array, shape: array.T)


def _convolution(theirs, ours):
    def to_theirs(array, shape):
        width, channels, rows, columns = shape
        return array.reshape(rows, columns, channels, width).transpose(3, 2, 0, 1)

    axes = ("width", "channels", "rows", "columns")
    return Name(theirs, ours, axes, lambda array: array.transpose(2, 3, 1, 0).reshape(-1, len(array)), to_theirs)


def _linear(theirs, kernel, bias, outputs, inputs):
    return [_transposed(f"{theirs}.weight", kernel, outputs, inputs), _same(f"{theirs}.bias", bias, outputs)]


def _dense(theirs, ours, outputs="width", inputs="width"):
    return _linear(theirs, f"{ours}/kernel", f"{ours}/bias", outputs, inputs)


def _norm(scale, shift, ours):
    return [_same(scale, f"{ours}/gamma", "width"), _same(shift, f"{ours}/beta", "width")]


def _only_norm(scale, shift, ours):
    """The only row of a bank of norms."""
    return [_merged(*pair, "width", to=lambda shape: (1, *shape)) for pair in ((scale, f"{ours}/gamma"), (shift, f"{ours}/beta"))]


ATTENTION = "encoder.layer.{i}.attention.attention"
QUERY_KEY_VALUE = ("query", "key", "value")
# How the parts of a block are called: norm before attention, norm before the feed-forward layer, its two Dense layers.
BLOCK_PARTS = {
    "vit": ("layernorm_before", "layernorm_after", "intermediate.dense", "output.dense"),
    "dinov2": ("norm1", "norm2", "mlp.fc1", "mlp.fc2"),
}
# Weights of DINOv2's LayerScale, which the output layers absorb.
SCALES = {"layer_scale1": "encoder/attention_scale", "layer_scale2": "encoder/ffn_scale"}


def hugging_face_names(layout, pooler=False, head=False, query_biases=True):
    """The table of Hugging Face's models; names begin at the encoder ("embeddings...", "encoder...").

    Args:
      layout: a key of BLOCK_PARTS; "vit" is also that of DeiT.
      pooler: whether the model has ViTModel's pooler, our representation layer.
      head: whether it has a classifier.
      query_biases: whether query, key and value have biases.

    Returns:
      A list of Names. With layout="dinov2" it includes those of SCALES, which are not weights of our models.
    """
    attention_norm, ffn_norm, ffn_in, ffn_out = BLOCK_PARTS[layout]
    block = "encoder.layer.{i}"
    names = [
        _same("embeddings.cls_token", "embedding/class_token", 1, 1, "width"),
        _same("embeddings.position_embeddings", "embedding/position_embedding", 1, "tokens", "width"),
        _convolution("embeddings.patch_embeddings.projection.weight", "embedding/projection/kernel"),
        _same("embeddings.patch_embeddings.projection.bias", "embedding/projection/bias", "width"),
    ]
    for part in QUERY_KEY_VALUE:
        names += _dense(f"{ATTENTION}.{part}", f"encoder/attention_{{i}}/{part}")[: 1 + query_biases]
    names += _dense(f"{block}.attention.output.dense", "encoder/attention_{i}/output")
    for theirs, side, axes in ((ffn_in, "in", ("ffn_dim", "width")), (ffn_out, "out", ("width", "ffn_dim"))):
        names += _linear(f"{block}.{theirs}", f"encoder/ffn_{{i}}/kernel_{side}", f"encoder/ffn_{{i}}/bias_{side}", *axes)
    for theirs, ours in ((attention_norm, "attention_norm"), (ffn_norm, "ffn_norm")):
        names += _norm(f"{block}.{theirs}.weight", f"{block}.{theirs}.bias", f"encoder/{ours}")
    if layout == "dinov2":
        names += [_same(f"{block}.{theirs}.lambda1", ours, "width") for theirs, ours in SCALES.items()]
    names += _only_norm("layernorm.weight", "layernorm.bias", "encoder/final_norm")
    if pooler:
        names += _dense("pooler.dense", "representation")
    if head:
        names += _dense("classifier", "head", "classes")
    return names


def google_names(class_token, representation, head):
    """The table of Google's ViT and AugReg files.

    Args:
      class_token, representation, head: whether the model has them.

    Returns:
      A list of Names.
    """
    block = "Transformer/encoderblock_{i}"
    attention = f"{block}/MultiHeadDotProductAttention_1"
    names = [
        _merged("embedding/kernel", "embedding/projection/kernel", "rows", "columns", "channels", "width", to=_keep_last),
        _same("embedding/bias", "embedding/projection/bias", "width"),
        _same("Transformer/posembed_input/pos_embedding", "embedding/position_embedding", 1, "tokens", "width"),
    ]
    if class_token:
        names.append(_same("cls", "embedding/class_token", 1, 1, "width"))
    for part in QUERY_KEY_VALUE:
        ours = f"encoder/attention_{{i}}/{part}"
        names.append(_merged(f"{attention}/{part}/kernel", f"{ours}/kernel", "width", "heads", "head_dim", to=_keep_first))
        names.append(_merged(f"{attention}/{part}/bias", f"{ours}/bias", "heads", "head_dim", to=lambda shape: (-1,)))
    ours = "encoder/attention_{i}/output"
    names.append(_merged(f"{attention}/out/kernel", f"{ours}/kernel", "heads", "head_dim", "width", to=_keep_last))
    names.append(_same(f"{attention}/out/bias", f"{ours}/bias", "width"))
    for number, side, axes in ((0, "in", ("width", "ffn_dim")), (1, "out", ("ffn_dim", "width"))):
        theirs = f"{block}/MlpBlock_3/Dense_{number}"
        names.append(_same(f"{theirs}/kernel", f"encoder/ffn_{{i}}/kernel_{side}", *axes))
        names.append(_same(f"{theirs}/bias", f"encoder/ffn_{{i}}/bias_{side}", axes[1]))
    for number, ours in ((0, "attention_norm"), (2, "ffn_norm")):
        theirs = f"{block}/LayerNorm_{number}"
        names += _norm(f"{theirs}/scale", f"{theirs}/bias", f"encoder/{ours}")
    names += _only_norm("Transformer/encoder_norm/scale", "Transformer/encoder_norm/bias", "encoder/final_norm")
    for theirs, ours, outputs in (("pre_logits", "representation", "width"), ("head", "head", "classes")):
        if representation if theirs == "pre_logits" else head:
            names.append(_same(f"{theirs}/kernel", f"{ours}/kernel", "width", outputs))
            names.append(_same(f"{theirs}/bias", f"{ours}/bias", outputs))
    return names


def _keep_last(shape):
    return -1, shape[-1]


def _keep_first(shape):
    return shape[0], -1
