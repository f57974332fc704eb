"""Fine-tuning on two replicas, as replicas.py trains."""

import numpy as np
import tensorflow as tf

from official import train
from official.config import OPTIMIZERS, train_settings
from official.training.averaging import averaged_weights
from official.training.optimizers import create_optimizer, create_state
from tests.official.replicas import SETTINGS, largest_difference_of_replicas
from tests.official.tiny import DENSE, tiny_config

SHAPES = {"a/kernel": (3, 4), "a/bias": (4,)}


def trained_by(name, strategy):
    """The weights, and all variables, after three steps of given gradients, of which each replica has another share."""
    generator = np.random.default_rng(0)
    settings = train_settings(optimizer=name, lr=0.05, steps=10, weight_decay=0.3, layer_decay=0.5, ema_decay=0.75)
    with strategy.scope():
        weights = [tf.Variable(generator.normal(size=shape), name=weight) for weight, shape in SHAPES.items()]
        optimizer = create_optimizer(settings, {"a/kernel": 0.5})
        create_state(optimizer, weights)

    def step(gradients):
        context = tf.distribute.get_replica_context()
        last = context.num_replicas_in_sync - 1
        share = 0.25 + 0.5 * tf.cast(context.replica_id_in_sync_group, tf.float64) if last else 1.0
        optimizer.apply_gradients(zip([share * gradient for gradient in gradients], weights, strict=True))

    replicated = tf.function(lambda gradients: strategy.run(step, args=(gradients,)) and None)
    for _ in range(3):
        replicated([tf.constant(generator.normal(size=shape)) for shape in SHAPES.values()])
    return [*weights, *optimizer.variables()[1:]]


def optimizers_report(strategy):
    """{optimizer: (largest difference from one device, differences between replicas)}, of weights, moments and averages."""
    report = {}
    for name in OPTIMIZERS:
        replicated = trained_by(name, strategy)
        alone = trained_by(name, tf.distribute.get_strategy())
        difference = max(float(abs(a.numpy() - b.numpy()).max()) for a, b in zip(alone, replicated, strict=True))
        report[name] = difference, largest_difference_of_replicas(replicated)
    return report


def run_report(run, folder):
    """How far the export is from the averages and from the weights, and whether the replicas have the same of both."""
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    loaded = tf.saved_model.load(str(folder / "saved_model"))  # whose variables live as long as it does
    exported = loaded.serve(images)
    weights = run.model.get_weights()
    with averaged_weights(run.model.optimizer, run.model):
        from_averages = float(abs(exported - run.model(images)).numpy().max())
        differences = largest_difference_of_replicas(run.model.weights)
    return dict(
        from_averages=from_averages,
        from_weights=float(abs(exported - run.model(images)).numpy().max()),
        differences=differences | largest_difference_of_replicas([*run.model.weights, *run.model.optimizer.variables()[1:]]),
        restored=all((a == b).all() for a, b in zip(weights, run.model.get_weights(), strict=True)),
    )


def fine_tuned(folder):
    """The reports of a run and of all optimizers."""
    settings = dict(SETTINGS, optimizer="adamw", layer_decay=0.5, ema_decay=0.75, frozen=("embedding",))
    run = train.Run(tiny_config(DENSE, strategy="mirrored", **settings), folder / "run")
    run.train()
    return dict(run=run_report(run, folder / "run"), optimizers=optimizers_report(run.strategy))
