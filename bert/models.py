"""Text models around the one encoder, for each task."""

from typing import Literal, get_args

import tensorflow as tf

from bert.layers import FirstToken, MaskedWords, Span, TextEmbedding, TokenMean, UnitMean
from widenet import Encoder, Model
from widenet.checks import check_choice, check_count, check_switch, refuse
from widenet.cost import dense_flops, encoder_flops
from widenet.draws import Dropout
from widenet.layer import at_least_float32, compute_dtype_of, new_initializer
from widenet.zoo import EncoderSettings, create_encoder, settings_of_encoder

Task = Literal["encoder", "pretraining", "classification", "span", "embedding"]
TASKS = get_args(Task)
Pool = Literal["token", "mean"]
# BERT's, of every kernel and embedding.
INITIALIZER = {"class_name": "TruncatedNormal", "config": {"stddev": 0.02}}
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
EMBEDDING = ("vocab_size", "max_length", "type_vocab_size", "embedding_dim", "embedding_projection")  # settings of the embedding
EMBEDDING_TASK = "bert.embedding:SentenceEmbedding"  # in the config of a run
ENCODER_KIND = "text encoder"  # what an exported encoder without its task says of itself
BLOCK = "block_"  # how the names of outputs begin in a model with features_only


class ModelSettings(EncoderSettings, total=False):
    """The settings of `bert.create_model` as keyword arguments, for editors and type checkers."""

    classes: int
    vocab_size: int
    max_length: int
    type_vocab_size: int
    embedding_dim: int
    embedding_projection: bool | None
    pool: Pool


def build_model(
    name,
    task,
    classes,
    vocab_size,
    max_length,
    type_vocab_size,
    embedding_dim,
    kernel_initializer=INITIALIZER,
    features_only=False,
    embedding_projection=None,
    pool="token",
    **encoder,
):
    """Builds the model that `bert.create_model` documents.

    Args:
      **encoder: sizes and settings of the encoder, as widenet.zoo.create_encoder takes them; those left out have its defaults.
      All others are as in `bert.create_model`.

    Raises:
      ValueError: a value that is not allowed.
    """
    check_choice("task", task, TASKS)
    check_switch("features_only", features_only)
    if features_only and task != "encoder":
        refuse("features_only", True, f"False for task={task!r}: such a model is an encoder alone")
    check_count("classes", classes)
    check_choice("pool", pool, get_args(Pool))
    encoder = create_encoder({**encoder, "kernel_initializer": kernel_initializer})
    initializer, regularizer = encoder.kernel_initializer, encoder.kernel_regularizer
    embedding = TextEmbedding(
        vocab_size,
        max_length,
        type_vocab_size,
        embedding_dim,
        encoder.width,
        dropout=encoder.dropout,
        norm_epsilon=encoder.norm_epsilon,
        initializer=initializer,
        kernel_regularizer=regularizer,
        embedding_projection=embedding_projection,
        name="embedding",
    )

    inputs = {name: tf.keras.Input((None,), dtype=tf.int32, name=name) for name in INPUTS}
    mask = inputs["input_mask"]
    x, words = embedding(inputs["input_word_ids"], type_ids=inputs["input_type_ids"])
    details = encoder(x, mask=mask, details=True)
    if features_only:
        # Layers that do nothing but give each output its name.
        named = [tf.keras.layers.Identity(name=f"{BLOCK}{i}")(x) for i, x in enumerate(details.block_outputs)]
        return Model(inputs, named, name=name)
    x = details.output
    # Heads give float32 logits also under mixed precision: a softmax over bfloat16 loses digits.
    wide = at_least_float32(compute_dtype_of(None))

    def dense(units, **settings):
        initial = new_initializer(initializer)
        return tf.keras.layers.Dense(units, kernel_initializer=initial, kernel_regularizer=regularizer, **settings)

    if task == "span":
        return Model(inputs, Span(initializer, regularizer, name="span", dtype=wide)(x, mask=mask), name=name)
    if task == "embedding":
        return Model(inputs, UnitMean(name="sentence_embedding", dtype=wide)(x, mask=mask), name=name)

    pooled = TokenMean(name="token_mean")(x, mask) if pool == "mean" else FirstToken(name="first_token")(x)
    pooled = dense(encoder.width, activation="tanh", name="pooler")(pooled)
    if task == "classification":
        pooled = Dropout(encoder.dropout, name="pooled_dropout")(pooled)
        return Model(inputs, dense(classes, name="classifier", dtype=wide)(pooled), name=name)

    outputs = {
        "pooled_output": pooled,
        "sequence_output": x,
        "encoder_outputs": details.block_outputs,
        "balance_loss": details.balance_loss,
    }
    if task == "pretraining":
        inputs["masked_lm_positions"] = tf.keras.Input((None,), dtype=tf.int32, name="masked_lm_positions")
        of_kernel = (initializer, regularizer)
        head = MaskedWords(embedding_dim, encoder.activation, encoder.norm_epsilon, *of_kernel, name="mlm_logits", dtype=wide)
        outputs["mlm_logits"] = head([x, inputs["masked_lm_positions"], words])
        outputs["next_sentence"] = dense(2, name="next_sentence", dtype=wide)(pooled)
    return Model(inputs, outputs, name=name)


def settings_of(model):
    """The settings, `task` among them, that `build_model` makes an equal model of.

    Raises:
      ValueError: a model that is not of this zoo, in words that can follow "... is not allowed: ".
    """
    layers = {layer.name: layer for layer in model.layers}
    embedding, encoder = layers.get("embedding"), layers.get("encoder")
    if not (isinstance(embedding, TextEmbedding) and isinstance(encoder, Encoder)):
        raise ValueError(f"it must be a text model of this zoo; its layers are {', '.join(layers)}")
    return {
        "task": _task_with(layers),
        "features_only": all(name.startswith(BLOCK) for name in model.output_names),
        "classes": layers["classifier"].units if "classifier" in layers else 2,
        **{name: getattr(embedding, name) for name in EMBEDDING},
        "pool": "mean" if "token_mean" in layers else "token",
        **settings_of_encoder(encoder),
    }


def settings_in_weights(weights, config, kind):
    """The settings of a saved model that are not in its config's `model`: the task, and what that leaves open.

    Args:
      weights: {full name: array}.
      config: of its run, a dict.
      kind: of an exported model (official.exportable.ExportSpec.kind); "" for a checkpoint.
    """
    found = {"task": _task_with({name.partition("/")[0] for name in weights}), "features_only": False}
    # Embeddings have no weights of their own: the config says so, also where another task wraps this one.
    tasks = [section["task"] for section in (config, *config.values()) if isinstance(section, dict) and "task" in section]
    if found["task"] == "encoder" and EMBEDDING_TASK in tasks and kind != ENCODER_KIND:
        found["task"] = "embedding"
    if "classifier/bias" in weights:
        found["classes"] = len(weights["classifier/bias"])
    if "embedding/word_embedding" in weights:
        found["vocab_size"] = len(weights["embedding/word_embedding"])
    return found


def _task_with(layers):
    """The task of a model that has layers of these names."""
    heads = {"mlm_logits": "pretraining", "classifier": "classification", "span": "span", "sentence_embedding": "embedding"}
    return next((task for head, task in heads.items() if head in layers), "encoder")


def encoder_of(model):
    """The encoder of a model of any task, with its layers: a widenet.Model of INPUTS.

    Its outputs are those of a model of the task "encoder" without `balance_loss`, and without `pooled_output` if the task has no
    pooler.
    """
    outputs = {}
    if "pooler" in [layer.name for layer in model.layers]:
        outputs["pooled_output"] = model.get_layer("pooler").output
    sequence, block_outputs, _ = model.get_layer("encoder").output
    outputs |= {"sequence_output": sequence, "encoder_outputs": list(block_outputs)}
    return Model({name: model.input[name] for name in INPUTS}, outputs, name=model.name)


def forward_flops(model, tokens, predictions=0, kept=1.0):
    """Operations in the matrix products of one example's forward pass; each multiply-add counts as two.

    Args:
      model: what build_model returns.
      tokens: length of the example.
      predictions: number of masked words that a model for pretraining predicts.
      kept: the share of assignments that experts compute; the others are dropped.
    """
    layers = {layer.name: layer for layer in model.layers}
    embedding, encoder = layers["embedding"], layers["encoder"]
    flops = encoder_flops(encoder, tokens, kept)
    if embedding.projection:
        flops += dense_flops(tokens, embedding.embedding_dim, embedding.width)
    if "span" in layers:
        flops += dense_flops(tokens, encoder.width, 2)
    if "mlm_logits" in layers:
        flops += dense_flops(predictions, encoder.width, embedding.embedding_dim)
        flops += dense_flops(predictions, embedding.embedding_dim, embedding.vocab_size)
    return flops + sum(dense_flops(1, *layer.kernel.shape) for layer in model.layers if isinstance(layer, tf.keras.layers.Dense))
