"""The table of image models. A new size is a new row of SIZES."""

from official.zoo import check_model, override

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

COMMON = dict(classes=1000, image_size=224, patch_size=16, channels=3, representation=True)


def list_models():
    """The names that `create_model` takes."""
    return list(MODELS)


def model_settings(name, **overrides):
    """All settings of a model of the zoo, as a flat dict of plain values.

    Args:
      name: one of `list_models()`.
      **overrides: settings to change.

    Raises:
      ValueError: an unknown name or setting.
    """
    check_model(name, MODELS)
    # Imported here so that names can be listed without waiting for TensorFlow.
    from widenet.zoo import encoder_settings

    family, size = name.rsplit("_", 1)
    return override(name, {**COMMON, **encoder_settings(family, **SIZES[size], **FAMILIES[family], **MODELS[name])}, overrides)


def create_model(name, *, pretrained=None, **overrides):
    """Creates an uncompiled model of the zoo.

    Args:
      name: one of `list_models()`.
      pretrained: what to start from: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle
        of a published one (docs/hub.md); None for fresh weights. The saved model may have other classes, another image size,
        deployment or depth: weights that fit are taken, positions are resampled, and the rest stays fresh; a table of this is
        printed. vision.transfer.load_pretrained does the same to an existing model and returns the table.
      **overrides: settings to change:
        classes: number of logits; 0 gives the features instead.
        image_size, patch_size: in pixels, of square images and patches; patch_size divides image_size.
        channels: of the images.
        representation: whether a Dense(width, tanh) stands between pooling and head, as for training from scratch.
        pool: "token" (a learned class token) or "gap" (the mean of all tokens, no class token).
        depth, width, heads, ffn_dim, expert_dim, activation, attention_dropout, drop_path, norm_epsilon: as in widenet.Encoder.
        dropout: as in widenet.Encoder; also the rate after the embedding.
        kernel_initializer: name or config of a Keras initializer for every kernel of encoder, patch projection, representation
          and head. Positions and class token keep their own.
        num_experts, top_k, capacity_factor, ...: every setting of widenet.routing.MOE_SETTINGS, as in widenet.SharedMoE.
        attention_groups, ffn_groups, norm_groups, routing_groups, moe_blocks, norm_position: as in widenet.Deployment.

    Returns:
      A widenet.Model, which is a tf.keras.Model: images float [batch, image_size, image_size, channels] in [-1, 1] to logits
      float32 [batch, classes], or to features [batch, width].

    Raises:
      ValueError: an unknown name or setting, a value that is not allowed, or `pretrained` without weights that fit.
    """
    settings = model_settings(name, **overrides)
    from official.checkpoints.pretrained import create_pretrained
    from vision.models import build_model
    from vision.transfer import transfer_weights

    if pretrained is None:
        return build_model(name=name, **settings)
    return create_pretrained(lambda: build_model(name=name, **settings), pretrained, transfer_weights)
