"""Trainings on two replicas, the two logical devices of the tests, and what tests compare."""

import numpy as np
import tensorflow as tf

from official import train
from tests.official.tiny import DENSE, tiny_config, without_export

# float64, so that what two replicas do differently is not lost among roundings; few steps, but more than one, since LAMB's first
# one does not depend on the size of the gradient.
SETTINGS = dict(steps=4, eval_every=2, warmup_steps=0, precision="float64")


def largest_difference_of_replicas(variables):
    """By name, over the copies of each variable; only those that differ at all."""
    found = {}
    for variable in variables:
        first, *others = (copy.numpy().astype(np.float64) for copy in variable.values)
        assert others, variable.name
        difference = max(float(abs(other - first).max()) for other in others)
        if difference:
            found[variable.name] = difference
    return found


def trained(folder):
    """(the run, a report of it); its weights are in folder/weights.npz."""
    config = tiny_config(DENSE, strategy="mirrored", **SETTINGS)
    run = train.Run(config, folder / "run")
    summary = run.train()
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    exported = tf.saved_model.load(str(folder / "run" / "saved_model"))
    weights = run.model.get_weights()
    np.savez(folder / "weights.npz", *weights)

    return run, dict(
        replicas=summary["replicas"],
        differences=largest_difference_of_replicas([*run.model.trainable_weights, *run.model.optimizer.variables()[1:]]),
        export=float(abs(exported.serve(images) - run.model(images)).numpy().max()),
    )


def resumed(folder, run):
    """A report of the same run in two halves."""
    half = train.Run(tiny_config(DENSE, strategy="mirrored", **{**SETTINGS, "steps": 2}), folder / "resumed")
    # The schedule of the whole run, as if this were its first half.
    half.model.optimizer.learning_rate = run.model.optimizer.learning_rate
    with without_export():
        half.train()
    (folder / "resumed" / "summary.json").unlink()
    resumed = train.Run(tiny_config(DENSE, strategy="mirrored", **SETTINGS), folder / "resumed")
    with without_export():
        resumed.train()
    return dict(
        first_step=resumed.first_step,
        resumed=max(float(abs(a - b).max()) for a, b in zip(resumed.model.get_weights(), run.model.get_weights(), strict=True)),
        resumed_differences=largest_difference_of_replicas(resumed.model.trainable_weights),
    )
