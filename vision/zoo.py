"""The table of image models. A new size is a new row of SIZES."""

from official.zoo import check_model, override

# Width, heads, hidden width of dense FFN and of experts, blocks, and how many of the last blocks are MoE in a ViT-MoE.
SIZES = {
    "ti16": dict(width=192, heads=3, ffn_dim=768, expert_dim=768, depth=12),
    "s16": dict(width=384, heads=6, ffn_dim=1536, expert_dim=1536, depth=12),
    "b16": dict(width=768, heads=12, ffn_dim=3072, expert_dim=4096, depth=12),
    "l16": dict(width=1024, heads=16, ffn_dim=4096, expert_dim=4096, depth=24),
    "h16": dict(width=1280, heads=16, ffn_dim=5120, expert_dim=5120, depth=32),
}

ONE_A_BLOCK = dict(attention_groups=None, ffn_groups=None, norm_groups=None, routing_groups=None)
FAMILIES = {
    "vit": dict(**ONE_A_BLOCK, moe_blocks=0, pool="token"),
    "vit_moe": dict(**ONE_A_BLOCK, pool="gap"),
    "widenet": dict(ONE_A_BLOCK, attention_groups=1, ffn_groups=1, moe_blocks="all", pool="gap"),
}

MODELS = {
    "vit_ti16": {},
    "vit_s16": {},
    "vit_b16": {},
    "vit_l16": {},
    "vit_moe_b16": dict(moe_blocks=2),
    "vit_moe_l16": dict(moe_blocks=4),
    "widenet_ti16": {},
    "widenet_s16": {},
    "widenet_b16": {},
    "widenet_l16": {},
    "widenet_h16": {},
}

COMMON = dict(
    classes=1000,
    image_size=224,
    patch_size=16,
    channels=3,
    representation=True,
    num_experts=4,
    top_k=2,
    capacity_factor=1.2,
    eval_capacity_factor=None,
    balance_weight=0.01,
    z_loss_weight=0.0,
    batch_priority=False,
    activation="gelu",
    dropout=0.0,
    attention_dropout=0.0,
    drop_path=0.0,
    norm_epsilon=1e-6,
    norm_position="pre",
)


def list_models():
    """The names that `create_model` takes."""
    return list(MODELS)


def model_settings(name, **overrides):
    """Every setting of a model of the zoo, as a flat dict.

    Args:
      name: one of `list_models()`.
      **overrides: settings to change. Anything that is not a setting is refused.

    Raises:
      ValueError: an unknown name or setting.
    """
    check_model(name, MODELS)
    family, size = name.rsplit("_", 1)
    return override(name, {**COMMON, **SIZES[size], **FAMILIES[family], **MODELS[name]}, overrides)


def create_model(name, *, pretrained=None, **overrides):
    """An uncompiled model of the zoo.

    Args:
      name: one of `list_models()`.
      pretrained: what to start from: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle
        of a published one (docs/hub.md); None for fresh weights. The saved model may have other classes, another image size,
        deployment or depth: what fits is taken, positions are resampled, and the rest stays fresh; a table of that is printed.
        vision.transfer.load_pretrained does the same to a model that is there, and returns the table.
      **overrides: settings to change:
        classes: number of logits; 0 gives the features instead.
        image_size, patch_size: in pixels, of square images and patches; patch_size divides image_size.
        channels: of the images.
        representation: whether a Dense(width, tanh) stands between pooling and head, as for training from scratch.
        pool: "token" (a learned class token) or "gap" (the mean of all tokens, no class token).
        depth, width, heads, ffn_dim, expert_dim, num_experts, top_k, capacity_factor, eval_capacity_factor, balance_weight,
          z_loss_weight, batch_priority, activation, dropout (also after the embedding), attention_dropout, drop_path,
          norm_epsilon: as in widenet.Encoder.
        attention_groups, ffn_groups, norm_groups, routing_groups, moe_blocks, norm_position: as in widenet.Deployment.

    Returns:
      A widenet.Model, which is a tf.keras.Model: images float [batch, image_size, image_size, channels] in [-1, 1] to logits
      float32 [batch, classes], or to features [batch, width].

    Raises:
      ValueError: an unknown name or setting, a value that is not allowed, or `pretrained` without weights or with none that fit.
    """
    settings = model_settings(name, **overrides)
    # Here, so that the table can be read without waiting for TensorFlow.
    from official.checkpoints.pretrained import create_pretrained
    from vision.models import build_model
    from vision.transfer import transfer_weights

    if pretrained is None:
        return build_model(name=name, **settings)
    return create_pretrained(lambda: build_model(name=name, **settings), pretrained, transfer_weights)
