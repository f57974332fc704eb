"""The table of text models. A new size is a new row of SIZES."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from official.zoo import check_model, check_model_name, override

if TYPE_CHECKING:  # Names can be listed without waiting for TensorFlow.
    import os

    from typing_extensions import Unpack

    from bert.models import ModelSettings, Task
    from widenet import Model

# Width, heads, hidden width of dense FFN and of experts, blocks, and the width of the embeddings.
SIZES = {
    "tiny": dict(width=128, heads=2, ffn_dim=512, expert_dim=512, depth=4, embedding_dim=64),
    "small": dict(width=256, heads=4, ffn_dim=1024, expert_dim=1024, depth=6, embedding_dim=128),
    "base": dict(width=768, heads=12, ffn_dim=3072, expert_dim=3072, depth=12, embedding_dim=128),
}

# A family is a row of widenet.deployment.DEPLOYMENTS.
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

COMMON = dict(classes=2, vocab_size=30000, max_length=512, type_vocab_size=2, embedding_projection=None, pool="token")

# What these settings mean, one line each; widenet.zoo.MEANINGS has the others.
MEANINGS = {
    "classes": "outputs of a classifier (1: regression; None: those of the data)",
    "vocab_size": "number of word embeddings (None: the size of the vocabulary)",
    "max_length": "number of position embeddings, which is the longest input in tokens",
    "type_vocab_size": "number of types of segments",
    "embedding_dim": "width of the embeddings, which are projected to width where that is another",
    "embedding_projection": "True: the embeddings are projected also where embedding_dim is the width",
    "pool": "what the pooler reads: token (the first one, [CLS]) or mean (of all real tokens)",
}

ENCODER = dict(dropout=0.1, attention_dropout=0.1, norm_epsilon=1e-12, norm_position="post")


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
    from bert.models import INITIALIZER
    from widenet.zoo import encoder_settings

    family, size = name.split("_")[:2]
    encoder = encoder_settings(family, kernel_initializer=INITIALIZER, **ENCODER, **SIZES[size], **MODELS[name])
    return override(name, {**COMMON, **encoder}, overrides)


def create_model(
    model: str | None = None,
    /,
    task: Task = "encoder",
    *,
    name: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    features_only: bool = False,
    **overrides: Unpack[ModelSettings],
) -> Model:
    """Creates an uncompiled model of the zoo.

    All tasks take a dict of int32 [batch, length], of any length up to `max_length`: `input_word_ids`, `input_mask` (0 where a
    token is padding, whatever its id) and `input_type_ids`. In Python the dict may also have Hugging Face's names, `input_ids`,
    `attention_mask` and `token_type_ids`, and a call's `mask`, bool [batch, length], may take the place of `input_mask`; exported
    models have the first names only. Their outputs:

    - "encoder": a dict of `pooled_output` [batch, width], `sequence_output` [batch, length, width], `encoder_outputs` (a list of
      such, one a block) and `balance_loss`, a scalar: the balance terms of all routings with their weight. In training the
      model's `losses` have these terms already: `balance_loss` is for steps that ignore `losses`, and for logs.
    - "pretraining": takes `masked_lm_positions` int32 [batch, predictions] too, and adds `mlm_logits` [batch, predictions,
      vocab_size] and `next_sentence` [batch, 2] (the sentences' order) to those outputs.
    - "classification": logits [batch, classes]; classes=1 for regression.
    - "span": logits [batch, length, 2] of the start and the end, -1e9 where the token is padding.
    - "embedding": [batch, width], the mean of `sequence_output` over the real tokens, divided by its L2 norm: the dot product of
      two embeddings is their cosine. It has no weights of its own, and no pooler. Without a real token it is 0.

    Logits and embeddings are float32 also under mixed precision.

    Args:
      model: one of `list_models()`. Where it is left out, `name` is meant.
      task: "encoder", "pretraining", "classification", "span" or "embedding".
      name: of the Keras model, for example to tell two models of the zoo in another one apart; None for that in the zoo.
      pretrained: what to start from: a run's workdir, a folder of checkpoints, a checkpoint's prefix, a SavedModel, a .keras
        file, the handle of a published model (docs/hub.md), a BERT or ALBERT of another project (docs/weights.md), or a
        .weights.h5 file of a model with the same layers; None for fresh weights. The saved model may be of another task,
        deployment, depth, number of positions or vocabulary: weights that fit are taken and the rest stays fresh; a table of this
        is printed. bert.transfer.load_pretrained does the same to an existing model and returns the table.
      features_only: whether the outputs of the task "encoder" are a list of those of all blocks, each [batch, length, width]. The
        pooler is left out. The final norm of a pre-norm encoder is not applied, so its weights get no gradients. All weights have
        the same names as in the whole model.
      **overrides: settings to change:
        classes: of "classification".
        vocab_size, max_length, type_vocab_size: numbers of words, positions and types of segments.
        embedding_dim: width of the embeddings, which are projected to `width` where that is another.
        embedding_projection: True for a projection also where it is not another, as ALBERT has in Hugging Face's code.
        pool: what the pooler reads, and so classifiers and `pooled_output`: "token", the first one, [CLS]; or "mean", that of all
          real tokens, for models whose [CLS] nothing has trained, such as sentence embeddings.
        depth, width, heads, ffn_dim, expert_dim, attention_dropout, drop_path: as in widenet.Encoder.
        activation, dropout, norm_epsilon: as in widenet.Encoder; also of the masked-word head (activation), of embedding and
          classifier (dropout), and of all norms.
        kernel_initializer: name or config of a Keras initializer for every kernel of encoder, embedding, pooler and heads, and
          for the embeddings of words, positions and types.
        kernel_regularizer: name, config or instance of a Keras regularizer for every such kernel, but not for the embeddings. Its
          terms are in the model's `losses`, one for each kernel, also for one that blocks share.
        num_experts, top_k, capacity_factor, ...: every setting of widenet.routing.MOE_SETTINGS, as in widenet.SharedMoE.
        attention_groups, ffn_groups, norm_groups, routing_groups, moe_blocks, norm_position: as in widenet.Deployment.

    Returns:
      A widenet.Model, which is a tf.keras.Model.

    Raises:
      ValueError: an unknown name, task or setting, a value that is not allowed, or `pretrained` without weights that fit.
    """
    model, name = (name, None) if model is None else (model, name)
    settings = model_settings(model, **overrides)
    check_model_name(name)
    if pretrained is not None:
        from official.checkpoints.pretrained import create_pretrained

        settings |= {"task": task, "features_only": features_only}
        return create_pretrained(zoo(settings), name or model, settings, pretrained)
    from bert.models import build_model

    return build_model(name or model, task, features_only=features_only, **settings)


def load_model(
    source: str | os.PathLike[str],
    task: Task | None = None,
    *,
    name: str | None = None,
    features_only: bool | None = None,
    **changes: Unpack[ModelSettings],
) -> Model:
    """A saved model, with its settings and weights: an uncompiled model that gives the same answers.

    Args:
      source: a run's workdir, a folder of checkpoints in one, a checkpoint's prefix, a SavedModel that this project exported, the
        handle of a published one (docs/hub.md), what `save` of a Keras model wrote: a .keras file, a SavedModel or a .h5 file; or
        a BERT or ALBERT of another project: a folder of Hugging Face, a .safetensors or .onnx file, or a checkpoint of Google's
        (docs/weights.md). What that does not tell, such as the heads of an .onnx file, is taken from `changes`.
      task: as of `create_model`; None for that of the saved model, and for "encoder" with features_only. With another one the
        encoder is taken, and heads are fresh.
      name: of the Keras model; None for that of the saved one.
      features_only: as of `create_model`; None for that of the saved model, and for False with another task.
      **changes: settings to change, as `create_model` takes them, such as `classes` or `max_length`. Then weights that fit are
        taken and the rest stays fresh; a table of this is printed.

    Returns:
      As `create_model`, in Keras's global precision policy.

    Raises:
      ValueError: no text model there, one that is saved without its settings or with unknown ones, an unknown task or setting, a
        value that is not allowed, or no weight fits.
      OSError: a repository of handles that cannot be read.
    """
    from official.checkpoints.pretrained import load_saved, read_saved

    check_model_name(name)
    if task is not None:
        changes |= {"task": task, "features_only": bool(features_only)}
    elif features_only is not None:
        changes["features_only"] = features_only
        if features_only:
            changes["task"] = "encoder"
    of_texts = zoo(changes)
    return load_saved(of_texts, read_saved(of_texts, source, "source"), name, changes)


def zoo(given=None):
    """The official.checkpoints.pretrained.Zoo of text models; `given` has settings for sources that do not tell theirs."""
    from bert.models import build_model, settings_in_weights, settings_of
    from bert.transfer import transfer_weights
    from official.checkpoints.pretrained import Zoo

    def transfer(model, weights, settings):
        return transfer_weights(model, weights)  # no weight's meaning depends on settings

    def convert(source):
        from bert.conversion.importing import convert  # only models that were made elsewhere need it

        return convert(source, model_settings, given)

    return Zoo(model_settings(next(iter(MODELS))), build_model, settings_of, settings_in_weights, transfer, convert)
