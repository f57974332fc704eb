"""A vision transformer of Hugging Face or Google as a model of this zoo."""

import numpy as np

from official.conversion.source import Converted, listed
from vision.conversion.names import QUERY_KEY_VALUE, SCALES, google_names, hugging_face_names, sizes
from vision.conversion.pixels import fold_pixels, read_pixels
from vision.conversion.settings import (
    check_source,
    class_names,
    complete,
    count_blocks,
    hugging_face_settings,
    layout_of,
    model_name,
)
from vision.sizes import plain_size

TOKEN = "embeddings.cls_token"
POSITIONS = "embeddings.position_embeddings"
# What the encoder's tensors begin with, after its prefix.
ENCODER = ("embeddings.", "encoder.", "layernorm.", "pooler.")
MODULES = ("vit", "deit", "dinov2")  # of the encoder in a model with a head
GOOGLE_POSITIONS = "Transformer/posembed_input/pos_embedding"


def convert(source, given=None):
    """A source as a model of this zoo: a Converted.

    Args:
      source: an official.conversion.source.Source.
      given: dict of what the user says about the source, where it does not tell itself: settings of the model
        (vision.conversion.settings.UNSEEN, image_size), image_mean and image_std.

    Raises:
      ValueError: what cannot be represented, or does not agree; names the source, and the setting or the tensor.
    """
    return convert_images(source, given)[0]


def convert_images(source, given=None):
    """(the Converted of `convert`, {setting: value} of vision.preprocessing.DATA: the classes' names and how images are cut)."""
    given = given or {}
    try:
        check_source(source)
        if source.form == "tensorflow":
            raise ValueError("it must be a vision transformer, and checkpoints of TensorFlow 1 are read of text models only")
        return (_from_google if source.form == "flax" else _from_hugging_face)(source, given)
    except ValueError as error:
        text = str(error)
        raise error if repr(source.given) in text else source.refusal(text) from error


def _from_hugging_face(source, given):
    _begin_names(source)
    layout = layout_of(source)
    head = _has_head(source, layout)
    pooler = not head and "pooler.dense.weight" in source
    if head:
        source.drop("pooler.*", "the classifier reads the class token without it")
    source.drop("embeddings.mask_token", "stands for hidden patches in pretraining")
    positions = _positions(source)
    settings = hugging_face_settings(source, layout, positions.shape[1], given)
    query_biases = _has_query_biases(source)
    classes = _matrix(source, "classifier.weight")[0] if head else 0
    settings |= dict(classes=classes, representation=pooler)
    names = [name for name in hugging_face_names(layout, pooler, head, query_biases) if name.theirs != POSITIONS]
    weights = {"embedding/position_embedding": positions, **_take(source, names, settings)}
    if not query_biases:
        width = settings["width"]
        biases = [f"encoder/attention_{i}/{part}/bias" for i in range(settings["depth"]) for part in QUERY_KEY_VALUE]
        weights |= {bias: np.zeros(width, np.float32) for bias in biases}
    if layout == "dinov2":
        _fold_scales(weights, settings["depth"])
    kind = source.config.get("model_type") or layout
    told = (given.get(name) for name in ("image_mean", "image_std"))
    pixels = read_pixels(source, kind, settings["channels"], settings["image_size"], *told)
    fold_pixels(weights, pixels)
    source.notes.extend(pixels.notes)
    data = dict(classes=class_names(source, classes), eval_crop=pixels.eval_crop)
    return Converted(model_name(settings), {**settings, "features_only": False}, weights, source.finish()), data


def _from_google(source, given):
    block = "Transformer/encoderblock_0/"
    token, representation, head = ("cls" in source, "pre_logits/kernel" in source, "head/kernel" in source)
    *patch_size, channels, width = _shape(source, "embedding/kernel", 4)
    known = dict(
        width=width,
        heads=_shape(source, f"{block}MultiHeadDotProductAttention_1/query/kernel", 3)[1],
        ffn_dim=_matrix(source, f"{block}MlpBlock_3/Dense_0/kernel")[1],
        depth=count_blocks(source, "Transformer/encoderblock_"),
        channels=channels,
        patch_size=plain_size(tuple(patch_size)),
        pool="token" if token else "gap",
        activation="gelu_tanh",  # the default of Flax's gelu
        norm_epsilon=1e-6,  # and of its norms
    )
    settings = complete(known, _shape(source, GOOGLE_POSITIONS, 3)[1] - token, given)
    classes = _matrix(source, "head/kernel")[1] if head else 0
    settings |= dict(classes=classes, representation=representation)
    weights = _take(source, google_names(token, representation, head), settings)
    data = dict(classes=class_names(source, classes), eval_crop=0.0)
    return Converted(model_name(settings), {**settings, "features_only": False}, weights, source.finish()), data


def _begin_names(source):
    """Makes the encoder's names begin at the encoder, and the classifier's at the whole model; drops tensors outside them."""
    found = [name.removesuffix(TOKEN) for name in source.names() if name == TOKEN or name.endswith(f".{TOKEN}")]
    if len(found) != 1:
        several = f"{', '.join(map(repr, found))}: --prefix names one of them" if found else "none"
        raise ValueError(f"it must have one tensor ...{TOKEN!r}, and it has {several}")
    prefix = found[0]
    *outer, module = prefix.rstrip(".").split(".")
    whole = "".join(f"{name}." for name in outer) if module in MODULES else ""

    def within(name):
        return name.removeprefix(prefix) if name.startswith(prefix) else name.removeprefix(whole)

    source.rename(within)
    outside = [name for name in source.names() if prefix and not name.startswith((*ENCODER, "classifier."))]
    if outside:
        source.notes.append(f"tensors outside {prefix.rstrip('.')} are left out: {listed(outside)}")
    source.drop(set(outside), f"outside {prefix.rstrip('.')}")


def _has_head(source, layout):
    """Whether the source has a classifier that reads the class token alone; drops DINOv2's, which also reads the other tokens."""
    if "classifier.weight" not in source:
        return False
    if layout != "dinov2":
        return True
    reason = "DINOv2's classifier reads the class token and the mean of the patches side by side; ours read one of them"
    source.drop("classifier.*", reason)
    source.notes.append(f"its classifier is left out ({reason}): the model gives the features of the class token")
    return False


def _has_query_biases(source):
    """As the config says or else the tensors."""
    if source.config.get("qkv_bias") is not None:
        return bool(source.config["qkv_bias"])
    return f"encoder.layer.0.attention.attention.{QUERY_KEY_VALUE[0]}.bias" in source


def _positions(source):
    """Float32 [1, tokens, width]. A traced .onnx has those of the class token and of the patches as two tensors without names."""
    width = _shape(source, TOKEN, 3)[-1]
    if POSITIONS in source:
        return source.take(POSITIONS, (1, _shape(source, POSITIONS, 3)[1], width))
    parts = [name for name in source.names() if name.startswith("embeddings.") and name != TOKEN]
    parts = [name for name in parts if len(source.shape(name)) == 3 and source.shape(name)[::2] == (1, width)]
    parts = sorted(parts, key=lambda name: source.shape(name)[1])
    if len(parts) != 2 or source.shape(parts[0])[1] != 1:
        raise ValueError(f"it has no tensor {POSITIONS!r}, and no two others that make it up")
    return np.concatenate([source.take(name) for name in parts], axis=1)


def _shape(source, name, axes):
    """The shape of a tensor, which must have this number of axes."""
    shape = source.shape(name)
    if len(shape) != axes:
        raise ValueError(f"its tensor {name!r} has the shape {list(shape)}; it must have {axes} axes")
    return shape


def _matrix(source, name):
    return _shape(source, name, 2)


def _take(source, names, settings):
    """{full name of ours: float32 array} of the tensors of a table."""
    axes, weights = sizes(settings), {}
    for name in names:
        blocks = range(settings["depth"]) if "{i}" in name.theirs else (0,)
        values = [name.to_ours(source.take(name.theirs.format(i=i), name.shape(axes))) for i in blocks]
        if name.is_row:
            weights[name.ours] = np.stack(values)
        else:
            weights |= {name.ours.format(i=i): np.ascontiguousarray(value) for i, value in zip(blocks, values, strict=True)}
    return weights


def _fold_scales(weights, depth):
    """LayerScale (arXiv:2103.17239, eq. 5) scales what a layer adds to its input, which its output kernel and bias do now."""
    scales = [weights.pop(ours) for ours in SCALES.values()]
    for i in range(depth):
        outputs = (f"attention_{i}/output/kernel", f"attention_{i}/output/bias"), (f"ffn_{i}/kernel_out", f"ffn_{i}/bias_out")
        for scale, of_layer in zip(scales, outputs, strict=True):
            for name in of_layer:
                weights[f"encoder/{name}"] = weights[f"encoder/{name}"] * scale[i]
