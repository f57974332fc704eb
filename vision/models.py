"""Image classifiers around the one encoder."""

import math
from typing import Literal

import tensorflow as tf

from vision.embedding import CUBIC, PatchEmbedding, PatchGrid, Pooling
from vision.sizes import check_size, patch_grid, plain_size, sides
from widenet import Encoder, Model
from widenet.checks import check_choice, check_count, check_switch, refuse
from widenet.draws import Dropout
from widenet.layer import at_least_float32, compute_dtype_of, new_initializer
from widenet.zoo import EncoderSettings, create_encoder, settings_of_encoder


class ModelSettings(EncoderSettings, total=False):
    """The settings of `vision.create_model` as keyword arguments, for editors and type checkers."""

    classes: int
    image_size: int | tuple[int, int]
    patch_size: int | tuple[int, int]
    channels: int
    representation: bool
    pool: Literal["token", "gap"]
    position_cubic: float


def build_model(
    name, classes, image_size, patch_size, channels, representation, pool, position_cubic=CUBIC[0], features_only=False, **encoder
):
    """Builds the model that `vision.create_model` documents.

    Args:
      **encoder: sizes and settings of the encoder, as widenet.zoo.create_encoder takes them; those left out have its defaults.
      All others are as in `vision.create_model`.

    Raises:
      ValueError: a value that is not allowed.
    """
    check_count("classes", classes, minimum=0)
    image_size, patch_size = check_size("image_size", image_size), check_size("patch_size", patch_size)
    check_count("channels", channels)
    check_choice("representation", representation, (True, False))
    check_switch("features_only", features_only)
    if any(side % patch for side, patch in zip(sides(image_size), sides(patch_size), strict=True)):
        both = "" if isinstance(image_size, int) and isinstance(patch_size, int) else ", in height and in width"
        refuse("patch_size", patch_size, f"a divisor of image_size={image_size}{both}")
    pooling = Pooling(pool, name="pooling")
    encoder = create_encoder(encoder)
    initializer, regularizer = encoder.kernel_initializer, encoder.kernel_regularizer

    def dense(units, **settings):
        initial = new_initializer(initializer)
        return tf.keras.layers.Dense(units, kernel_initializer=initial, kernel_regularizer=regularizer, **settings)

    images = tf.keras.Input((*sides(image_size), channels), name="images")
    embedding = PatchEmbedding(
        encoder.width, patch_size, pool == "token", initializer, regularizer, position_cubic, name="embedding"
    )
    x = embedding(images)
    x = Dropout(encoder.dropout, name="embedding_dropout")(x)
    if features_only:
        tokens = encoder(x, details=True).block_outputs
        rows, columns = patch_grid(image_size, patch_size)
        grids = [PatchGrid(rows, columns, name=f"block_{i}")(x) for i, x in enumerate(tokens)]
        return Model(inputs=images, outputs=grids, name=name)
    x = encoder(x)
    x = pooling(x)
    if representation:
        x = dense(encoder.width, activation="tanh", name="representation")(x)
    if classes:
        # Float32 logits also under mixed precision: a softmax over bfloat16 loses digits.
        x = dense(classes, name="head", dtype=at_least_float32(compute_dtype_of(None)))(x)
    return Model(inputs=images, outputs=x, name=name)


def settings_of(model):
    """The settings that `build_model` makes an equal model of.

    Raises:
      ValueError: a model that is not of this zoo, in words that can follow "... is not allowed: ".
    """
    layers = {layer.name: layer for layer in model.layers}
    embedding, encoder, pooling = (layers.get(name) for name in ("embedding", "encoder", "pooling"))
    features_only = all(isinstance(layers.get(name), PatchGrid) for name in model.output_names)
    is_whole = features_only or isinstance(pooling, Pooling)
    if not (isinstance(embedding, PatchEmbedding) and isinstance(encoder, Encoder) and is_whole):
        raise ValueError(f"it must be an image model of this zoo; its layers are {', '.join(layers)}")
    return {
        "classes": layers["head"].units if "head" in layers else 0,
        "image_size": plain_size(model.input_shape[1:3]),
        "patch_size": embedding.patch_size,
        "channels": model.input_shape[-1],
        "representation": "representation" in layers,
        "pool": "token" if embedding.class_token else "gap",
        "position_cubic": embedding.position_cubic,
        "features_only": features_only,
        **settings_of_encoder(encoder),
    }


def settings_in_weights(weights, config, kind):
    """The settings that {full name: array} tells where a run's config does not: a part without a head has no classes."""
    del config, kind  # which say nothing more
    return {"classes": len(weights["head/bias"]) if "head/bias" in weights else 0, "features_only": False}


def features_of(model):
    """The head's input, or the output of a model without a head: symbolic, float [batch, width]."""
    head = [layer for layer in model.layers if layer.name == "head"]
    return head[0].input if head else model.output


def forward_flops(model, kept=1.0):
    """Operations in the matrix products of one image's forward pass; each multiply-add counts as two.

    Args:
      model: what build_model returns.
      kept: the share of assignments that experts compute; the others are dropped.
    """
    from widenet.cost import dense_flops, encoder_flops  # which only tables of models need

    embedding, encoder = model.get_layer("embedding"), model.get_layer("encoder")
    patch_values = math.prod(sides(embedding.patch_size)) * model.input_shape[-1]
    tokens = embedding.position_embedding.shape[1]
    flops = dense_flops(tokens - embedding.class_token, patch_values, encoder.width) + encoder_flops(encoder, tokens, kept)
    dense = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dense)]
    return flops + sum(dense_flops(1, *layer.kernel.shape) for layer in dense)
