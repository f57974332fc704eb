"""The table of text models. A new size is a new row of SIZES."""

from official.zoo import check_model, override

# Width, heads, hidden width of dense FFN and of experts, blocks, and the width of the embeddings.
SIZES = {
    "tiny": dict(width=128, heads=2, ffn_dim=512, expert_dim=512, depth=4, embedding_dim=64),
    "small": dict(width=256, heads=4, ffn_dim=1024, expert_dim=1024, depth=6, embedding_dim=128),
    "base": dict(width=768, heads=12, ffn_dim=3072, expert_dim=3072, depth=12, embedding_dim=128),
}

ONE_A_BLOCK = dict(attention_groups=None, ffn_groups=None, norm_groups=None, routing_groups=None)
FAMILIES = {
    "bert": dict(ONE_A_BLOCK, moe_blocks=0),
    "albert": dict(ONE_A_BLOCK, attention_groups=1, ffn_groups=1, norm_groups=1, moe_blocks=0),
    "widenet": dict(ONE_A_BLOCK, attention_groups=1, ffn_groups=1, moe_blocks="all"),
}

MODELS = {
    "bert_tiny": {},
    "bert_small": {},
    "bert_base": {},
    "albert_tiny": {},
    "albert_small": {},
    "albert_base": {},
    "widenet_tiny_e4": dict(num_experts=4),
    "widenet_tiny_e8": dict(num_experts=8),
    "widenet_tiny_e16": dict(num_experts=16),
    "widenet_small_e4": dict(num_experts=4),
    "widenet_small_e8": dict(num_experts=8),
    "widenet_small_e16": dict(num_experts=16),
    "widenet_base_e4": dict(num_experts=4),
    "widenet_base_e8": dict(num_experts=8),
    "widenet_base_e16": dict(num_experts=16),
}

COMMON = dict(
    classes=2,
    vocab_size=30000,
    max_length=512,
    type_vocab_size=2,
    num_experts=4,
    top_k=2,
    capacity_factor=1.2,
    eval_capacity_factor=None,
    balance_weight=0.01,
    z_loss_weight=0.0,
    batch_priority=False,
    activation="gelu",
    dropout=0.1,
    attention_dropout=0.1,
    drop_path=0.0,
    norm_epsilon=1e-12,
    norm_position="post",
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
    family, size = name.split("_")[:2]
    return override(name, {**COMMON, **SIZES[size], **FAMILIES[family], **MODELS[name]}, overrides)


def create_model(name, task="encoder", *, pretrained=None, **overrides):
    """An uncompiled model of the zoo.

    All tasks take a dict of int32 [batch, length], of any length up to `max_length`: `input_word_ids`, `input_mask` (0 where a
    token is padding, whatever its id) and `input_type_ids`. What they give:

    - "encoder": a dict of `pooled_output` [batch, width], `sequence_output` [batch, length, width], `encoder_outputs` (a list of
      such, one a block) and `balance_loss`, a scalar: the balance terms of all routings with their weight. Training adds those
      to the model's losses already, so it is for looking at and for steps that do without the model's losses.
    - "pretraining": takes `masked_lm_positions` int32 [batch, predictions] too, and gives `mlm_logits` [batch, predictions,
      vocab_size] and `next_sentence` [batch, 2] (the sentences' order) beside those.
    - "classification": logits [batch, classes]; classes=1 for regression.
    - "span": logits [batch, length, 2] of the start and the end, -1e9 where the token is padding.

    Logits are float32 also under mixed precision.

    Args:
      name: one of `list_models()`.
      task: "encoder", "pretraining", "classification" or "span".
      pretrained: what to start from: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, or the handle
        of a published one (docs/hub.md); None for fresh weights. The saved model may be of another task, deployment, depth,
        number of positions or vocabulary: what fits is taken and the rest stays fresh; a table of that is printed.
        bert.transfer.load_pretrained does the same to a model that is there, and returns the table.
      **overrides: settings to change:
        classes: of "classification".
        vocab_size, max_length, type_vocab_size: numbers of words, positions and types of segments.
        embedding_dim: width of the embeddings, which are projected to `width` where that is another.
        depth, width, heads, ffn_dim, expert_dim, num_experts, top_k, capacity_factor, eval_capacity_factor, balance_weight,
          z_loss_weight, batch_priority, activation (also of the masked-word head), dropout (also of embedding and classifier),
          attention_dropout, drop_path, norm_epsilon (of all norms): as in widenet.Encoder.
        attention_groups, ffn_groups, norm_groups, routing_groups, moe_blocks, norm_position: as in widenet.Deployment.

    Returns:
      A widenet.Model, which is a tf.keras.Model.

    Raises:
      ValueError: an unknown name, task or setting, a value that is not allowed, or `pretrained` without weights or with none
        that fit.
    """
    settings = model_settings(name, **overrides)
    # Here, so that the table can be read without waiting for TensorFlow.
    from bert.models import build_model
    from bert.transfer import transfer_weights
    from official.checkpoints.pretrained import create_pretrained

    if pretrained is None:
        return build_model(name, task, **settings)
    return create_pretrained(lambda: build_model(name, task, **settings), pretrained, transfer_weights)
