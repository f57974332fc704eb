"""The table of image models. A new size is a new row of SIZES."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from official.zoo import check_model, check_model_name, override

if TYPE_CHECKING:  # Names can be listed without waiting for TensorFlow.
    import os

    import tensorflow as tf
    from typing_extensions import Unpack

    from vision.models import ModelSettings
    from vision.pixels import Preprocessor
    from widenet import Model

# Width, heads, hidden width of dense FFN and of experts, blocks.
SIZES = {
    "ti16": dict(width=192, heads=3, ffn_dim=768, expert_dim=768, depth=12),
    "s16": dict(width=384, heads=6, ffn_dim=1536, expert_dim=1536, depth=12),
    "b16": dict(width=768, heads=12, ffn_dim=3072, expert_dim=4096, depth=12),
    "l16": dict(width=1024, heads=16, ffn_dim=4096, expert_dim=4096, depth=24),
    "h16": dict(width=1280, heads=16, ffn_dim=5120, expert_dim=5120, depth=32),
}

# A family is a row of widenet.deployment.DEPLOYMENTS.
FAMILIES = {
    "vit": dict(pool="token"),
    "vit_moe": dict(pool="gap"),
    "widenet": dict(pool="gap"),
}

MODELS = {
    "vit_ti16": {},
    "vit_s16": {},
    "vit_b16": {},
    "vit_l16": {},
    "vit_moe_b16": {},
    "vit_moe_l16": dict(moe_blocks=4),
    "widenet_ti16": {},
    "widenet_s16": {},
    "widenet_b16": {},
    "widenet_l16": {},
    "widenet_h16": {},
}

COMMON = dict(classes=1000, image_size=224, patch_size=16, channels=3, representation=True, position_cubic=-0.5)

# What these settings mean, one line each; widenet.zoo.MEANINGS has the others.
MEANINGS = {
    "classes": "number of logits",
    "image_size": "side of the images in pixels, or (height, width)",
    "patch_size": "side of the patches in pixels, or (height, width); divides image_size",
    "channels": "channels of the images, 1 or 3",
    "representation": "whether a Dense(width, tanh) stands between pooling and head",
    "pool": "token (a learned class token) or gap (the mean of all tokens)",
    "position_cubic": "cubic kernel that resamples positions: -0.5 (TensorFlow's) or -0.75 (PyTorch's)",
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` takes, of those that match a shell pattern such as "widenet*"."""
    return fnmatch.filter(MODELS, pattern)


def model_settings(name: str, **overrides: Unpack[ModelSettings]) -> dict[str, Any]:
    """All settings of a model of the zoo, as a flat dict of plain values.

    Args:
      name: one of `list_models()`.
      **overrides: settings to change.

    Raises:
      ValueError: an unknown name or setting.
    """
    check_model(name, MODELS)
    # Imported here so that names can be listed without waiting for TensorFlow.
    from vision.sizes import plain_size
    from widenet.zoo import encoder_settings

    family, size = name.rsplit("_", 1)
    defaults = {**COMMON, **encoder_settings(family, **SIZES[size], **FAMILIES[family], **MODELS[name])}
    settings = override(name, defaults, overrides)
    return {**settings, **{key: plain_size(settings[key]) for key in ("image_size", "patch_size")}}


def create_model(
    model: str | None = None,
    /,
    *,
    name: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    features_only: bool = False,
    **overrides: Unpack[ModelSettings],
) -> Model:
    """Creates an uncompiled model of the zoo.

    Args:
      model: one of `list_models()`. Where it is left out, `name` is meant.
      name: of the Keras model, for example to tell two models of the zoo in another one apart; None for that in the zoo.
      pretrained: what to start from: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, a .keras
        file, the handle of a published model (docs/hub.md), or a .weights.h5 file of a model with the same layers; None for
        fresh weights. The saved model may have other classes, another image size, deployment or depth: weights that fit are
        taken, positions are resampled, and the rest stays fresh; a table of this is printed. vision.transfer.load_pretrained
        does the same to an existing model and returns the table.
      features_only: whether the outputs are those of all blocks, in place of logits. Pooling, representation and head are left
        out. The encoder's final norm is not applied, so its weights get no gradients. All weights have the same names as in the
        whole model.
      **overrides: settings to change:
        classes: number of logits; 0 gives the features instead.
        image_size, patch_size: in pixels, an int for squares, or a pair (height, width); patch_size divides image_size.
        channels: of the images.
        representation: whether a Dense(width, tanh) stands between pooling and head, as for training from scratch.
        pool: "token" (a learned class token) or "gap" (the mean of all tokens, no class token).
        position_cubic: coefficient of the cubic kernel that resamples the positions when a model that starts from this one has
          another image size: -0.5 (TensorFlow's) or -0.75 (PyTorch's, for models converted from there).
        depth, width, heads, ffn_dim, expert_dim, activation, attention_dropout, drop_path, norm_epsilon: as in widenet.Encoder.
        dropout: as in widenet.Encoder; also the rate after the embedding.
        kernel_initializer: name or config of a Keras initializer for every kernel of encoder, patch projection, representation
          and head. Positions and class token keep their own.
        kernel_regularizer: name, config or instance of a Keras regularizer for the same kernels, such as
          tf.keras.regularizers.L2(1e-4). Its terms are in the model's `losses`: one for each kernel, also for one that blocks
          share.
        num_experts, top_k, capacity_factor, ...: every setting of widenet.routing.MOE_SETTINGS, as in widenet.SharedMoE.
        attention_groups, ffn_groups, norm_groups, routing_groups, moe_blocks, norm_position: as in widenet.Deployment.

    Returns:
      A widenet.Model, which is a tf.keras.Model: images float [batch, height, width, channels] in [-1, 1] to logits float32
      [batch, classes], or to features [batch, width]; with features_only to a list of `depth` features
      [batch, rows, columns, width], those of each patch in its place, without the class token.

    Raises:
      ValueError: an unknown name or setting, a value that is not allowed, or `pretrained` without weights that fit.
    """
    model, name = (name, None) if model is None else (model, name)
    settings = model_settings(model, **overrides)
    check_model_name(name)
    if pretrained is not None:
        from official.checkpoints.pretrained import create_pretrained

        return create_pretrained(zoo(settings), name or model, {**settings, "features_only": features_only}, pretrained)
    from vision.models import build_model

    return build_model(name=name or model, features_only=features_only, **settings)


def load_model(
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    features_only: bool | None = None,
    **changes: Unpack[ModelSettings],
) -> Model:
    """A saved model, with its settings and weights: an uncompiled model that gives the same answers.

    Args:
      source: a run's workdir, a folder of checkpoints in one, a checkpoint's prefix, a SavedModel that this project exported, the
        handle of a published one (docs/hub.md), or what `save` of a Keras model wrote: a .keras file, a SavedModel or a .h5
        file; or a vision transformer that was made elsewhere, a folder of Hugging Face or a file .safetensors, .onnx or .npz
        (docs/weights.md).
      name: of the Keras model; None for that of the saved one.
      features_only: as of `create_model`; None for that of the saved one.
      **changes: settings to change, as `create_model` takes them, such as `classes` or `image_size`. Then weights that fit
        are taken, positions are resampled, and the rest stays fresh; a table of this is printed. They also say what a file
        from elsewhere does not tell, such as `heads`.

    Returns:
      As `create_model`, in Keras's global precision policy.

    Raises:
      ValueError: no image model there, one that is saved without its settings or with unknown ones, an unknown setting, a value
        that is not allowed, or no weight fits.
      OSError: a repository of handles that cannot be read.
    """
    from official.checkpoints.pretrained import load_saved, read_saved

    check_model_name(name)
    if features_only is not None:
        changes["features_only"] = features_only
    elif "classes" in changes:  # of a model that was saved with features_only, too
        changes["features_only"] = False
    own = zoo(changes)
    return load_saved(own, read_saved(own, source, "source"), name, changes)


def preprocessor(model: tf.keras.Model, *, eval_crop: float = 0.0) -> Preprocessor:
    """A layer that prepares images for a model: uint8 or floats from 0 to 255, of any size, one image or a batch.

        prepare = vision.preprocessor(model)
        logits = model(prepare(photo[np.newaxis]))  # uint8 [height, width, 3]

    It also works in `tf.data.Dataset.map` and in Keras models, which keep it when they are saved.

    Args:
      model: of `create_model` or `load_model`, or another one with images as its only input.
      eval_crop: of the recipe that the model was trained by; 0 takes the whole image.

    Returns:
      A vision.pixels.Preprocessor, a Keras layer without weights.

    Raises:
      ValueError: another model, or eval_crop outside [0, 1].
    """
    from vision.pixels import Preprocessor

    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        what = "one with a single input [batch, height, width, channels] of known size"
        raise ValueError(f"model={model.name!r} is not allowed: it must be {what}; its inputs are {shape}")
    return Preprocessor(shape[1:3], shape[3], eval_crop)


def zoo(given=None):
    """The official.checkpoints.pretrained.Zoo; `given` are settings that the user gives, for sources that do not tell them."""
    from official.checkpoints.pretrained import Zoo
    from vision.models import build_model, settings_in_weights, settings_of
    from vision.transfer import transfer_weights

    def convert(source):
        from vision.conversion.importing import convert  # only models that were made elsewhere need it

        return convert(source, given)

    return Zoo(model_settings(next(iter(MODELS))), build_model, settings_of, settings_in_weights, transfer_weights, convert)
