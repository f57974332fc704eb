"""Text models around the one encoder, for each task."""

import tensorflow as tf

from bert.layers import FirstToken, MaskedWords, Span, TextEmbedding
from widenet import Deployment, Encoder, Model
from widenet.checks import check_choice, check_count
from widenet.deployment import DEPLOYMENT_SETTINGS
from widenet.flops import dense_flops, encoder_flops
from widenet.layer import at_least_float32, compute_dtype_of, new_initializer

TASKS = ("encoder", "pretraining", "classification", "span")
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


def build_model(
    name, task, classes, vocab_size, max_length, type_vocab_size, embedding_dim, dropout, norm_epsilon, activation, **encoder
):
    """Builds the model that `bert.create_model` documents, from all of its settings.

    Raises:
      ValueError: a value that is not allowed.
    """
    check_choice("task", task, TASKS)
    check_count("classes", classes)
    initializer = tf.keras.initializers.TruncatedNormal(stddev=0.02)
    deployment = Deployment(**{setting: encoder.pop(setting) for setting in DEPLOYMENT_SETTINGS})
    encoder = Encoder(
        deployment=deployment,
        dropout=dropout,
        norm_epsilon=norm_epsilon,
        activation=activation,
        kernel_initializer=initializer,
        name="encoder",
        **encoder,
    )
    embedding = TextEmbedding(
        vocab_size,
        max_length,
        type_vocab_size,
        embedding_dim,
        encoder.width,
        dropout=dropout,
        norm_epsilon=norm_epsilon,
        initializer=initializer,
        name="embedding",
    )

    inputs = {name: tf.keras.Input((None,), dtype=tf.int32, name=name) for name in INPUTS}
    mask = inputs["input_mask"]
    x, words = embedding(inputs["input_word_ids"], type_ids=inputs["input_type_ids"])
    details = encoder(x, mask=mask, details=True)
    x = details.output
    # Heads give float32 logits also under mixed precision: a softmax over bfloat16 loses digits.
    wide = at_least_float32(compute_dtype_of(None))

    def dense(units, **settings):
        return tf.keras.layers.Dense(units, kernel_initializer=new_initializer(initializer), **settings)

    if task == "span":
        return Model(inputs, Span(kernel_initializer=initializer, name="span", dtype=wide)(x, mask=mask), name=name)

    pooled = FirstToken(name="first_token")(x)
    pooled = dense(encoder.width, activation="tanh", name="pooler")(pooled)
    if task == "classification":
        pooled = tf.keras.layers.Dropout(dropout, name="pooled_dropout")(pooled)
        return Model(inputs, dense(classes, name="classifier", dtype=wide)(pooled), name=name)

    outputs = {
        "pooled_output": pooled,
        "sequence_output": x,
        "encoder_outputs": details.block_outputs,
        "balance_loss": details.balance_loss,
    }
    if task == "pretraining":
        inputs["masked_lm_positions"] = tf.keras.Input((None,), dtype=tf.int32, name="masked_lm_positions")
        head = MaskedWords(embedding_dim, activation, norm_epsilon, initializer, name="mlm_logits", dtype=wide)
        outputs["mlm_logits"] = head([x, inputs["masked_lm_positions"], words])
        outputs["next_sentence"] = dense(2, name="next_sentence", dtype=wide)(pooled)
    return Model(inputs, outputs, name=name)


def encoder_of(model):
    """The encoder of a model of any task, with its layers: a widenet.Model of INPUTS.

    It gives what a model of the task "encoder" gives but for `balance_loss`; no `pooled_output` where the task has no pooler.
    """
    outputs = {}
    if "pooler" in [layer.name for layer in model.layers]:
        outputs["pooled_output"] = model.get_layer("pooler").output
    sequence, block_outputs, _ = model.get_layer("encoder").output
    outputs |= {"sequence_output": sequence, "encoder_outputs": list(block_outputs)}
    return Model({name: model.input[name] for name in INPUTS}, outputs, name=model.name)


def forward_flops(model, tokens, predictions=0, kept=1.0):
    """Floating-point operations of one example's forward pass: the matrix products, each multiply-add as two.

    Args:
      model: what build_model returns.
      tokens: length of the example.
      predictions: masked words that are predicted, of a model for pretraining.
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
