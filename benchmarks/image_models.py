"""Cases of image models: a training step as in `fit`, or a forward pass as in `predict`."""

import runpy
import statistics

import tensorflow as tf


def dense_baseline(precision, mode, batch):
    """benchmarks/dense_baseline.py with Keras's mixed precision and a LAMB that is not compiled, of Addons if installed."""
    from benchmarks.dense_baseline import shared_vit
    from official.training.optimizers import bases

    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    model = shared_vit()
    return case(model, lamb(bases.LAMB), mode, batch)


def zoo(name, precision, mode, batch, optimizer="lamb", recompute=False, **settings):
    """A model of the zoo with this project's LAMB, or with optimizer="adamw" Keras's AdamW."""
    import vision
    from official.training.optimizers import LAMB
    from vision.models import forward_flops

    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    model = vision.create_model(name, **settings)
    model.recompute_blocks(recompute)
    optimizer = lamb(LAMB) if optimizer == "lamb" else tf.keras.optimizers.AdamW(1e-4, weight_decay=0.1)
    step, facts = case(model, optimizer, mode, batch)
    passes = 3 if mode == "train" else 1  # the backward pass has two products for each of the forward pass
    facts["flops"] = passes * batch * forward_flops(model)
    facts["expert flops"] = facts["flops"] - passes * batch * forward_flops(model, kept=0)
    return step, facts


def recipe(path, argument):
    """The model and optimizer of a recipe, in float32."""
    from official.training.optimizers import create_optimizer
    from vision.models import build_model

    config = runpy.run_path(path)["get_config"](argument)
    tf.keras.utils.set_random_seed(0)
    model = build_model(name=config.name, **{key: config.model[key] for key in config.model})
    return case(model, create_optimizer(config.train), "train", config.train.batch_size)


def lamb(kind):
    """LAMB as in the recipes; `kind` is its class."""
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


def case(model, optimizer, mode, batch):
    """`step_of` random images and labels."""
    images = tf.random.stateless_uniform([batch, *model.input_shape[1:]], [0, 0], -1, 1)
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, model.output_shape[-1], tf.int32)
    return step_of(model, optimizer, mode, images, labels)


def step_of(model, optimizer, mode, inputs, labels):
    """(step, facts) of a classifier; `step` returns when its result is computed.

    Args:
      mode: "train" (loss, gradients and optimizer) or "forward" (inference).
      inputs: what the model takes, with sizes that are known.
      labels: int [batch].
    """
    facts = {"parameters": model.count_params(), "kept": 1.0}
    if mode == "forward":
        predict = tf.function(model.predict_step)
        return lambda: predict(inputs).numpy(), facts
    model.compile(optimizer, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.seed_steps(0)  # as the driver does
    data = iter(tf.data.Dataset.from_tensors((inputs, labels)).repeat())
    train = model.make_train_function()
    kept = []

    def step():
        logs = train(data)
        float(logs["loss"])
        kept.append(1 - float(logs.get("dropped", 0)))
        facts["kept"] = statistics.mean(kept)

    return step, facts
