"""Image models as contestants: a train step as `fit` does it, or a forward pass as `predict` does it."""

import runpy
import statistics

import tensorflow as tf


def anchor(precision, mode, batch):
    """benchmarks/anchor.py with Keras's own mixed precision and tfa's own LAMB."""
    from benchmarks.anchor import shared_vit
    from official.training.optimizers import tfa

    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    model = shared_vit()
    return contestant(model, lamb(tfa.optimizers.LAMB), mode, batch)


def zoo(name, precision, mode, batch, optimizer="lamb", **settings):
    """A model of the zoo with this project's LAMB, or with Keras's AdamW ("adamw")."""
    import vision
    from official.training.optimizers import LAMB
    from vision.models import forward_flops

    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    model = vision.create_model(name, **settings)
    optimizer = lamb(LAMB) if optimizer == "lamb" else tf.keras.optimizers.AdamW(1e-4, weight_decay=0.1)
    step, facts = contestant(model, optimizer, mode, batch)
    passes = 3 if mode == "train" else 1  # a backward pass has two products for each of the forward pass
    facts["flops"] = passes * batch * forward_flops(model)
    facts["expert flops"] = facts["flops"] - passes * batch * forward_flops(model, kept=0)
    return step, facts


def recipe(path, argument):
    """The model of a recipe as its runs train it, in float32."""
    from official.training.optimizers import create_optimizer
    from vision.models import build_model

    config = runpy.run_path(path)["get_config"](argument)
    tf.keras.utils.set_random_seed(0)
    model = build_model(name=config.name, **{key: config.model[key] for key in config.model})
    return contestant(model, create_optimizer(config.train), "train", config.train.batch_size)


def lamb(kind):
    """The recipes' LAMB, of either class."""
    excluded = [r"(^|/)(bias|bias_in|bias_out|gamma|beta|embeddings)(:\d+)?$"]
    return kind(
        1e-4,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=0.1,
        exclude_from_weight_decay=excluded,
        exclude_from_layer_adaptation=excluded,
        global_clipnorm=1.0,
    )


def contestant(model, optimizer, mode, batch):
    """(step, facts) of a model; `step` returns when its result is there.

    Args:
      mode: "train": loss, gradients and LAMB; "forward": inference.
    """
    images = tf.random.stateless_uniform([batch, *model.input_shape[1:]], [0, 0], -1, 1)
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, model.output_shape[-1], tf.int32)
    facts = {"parameters": model.count_params(), "kept": 1.0}
    if mode == "forward":
        predict = tf.function(model.predict_step)
        return lambda: predict(images).numpy(), facts
    model.compile(optimizer, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    train = model.make_train_function()
    kept = []

    def step():
        logs = train(data)
        float(logs["loss"])
        kept.append(1 - float(logs.get("dropped", 0)))
        facts["kept"] = statistics.mean(kept)

    return step, facts
