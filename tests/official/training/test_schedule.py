"""The learning rate over a run."""

import math

import numpy as np
import pytest
import tensorflow as tf

from official.config import train_settings
from official.training.optimizers import LinearDecay, create_optimizer, create_schedule


@pytest.mark.parametrize("warmup", [1, 4, 10])
def test_schedule(warmup):
    """Linear from 0 to the peak at `warmup_steps`, then half a cosine to 0 at `steps`; by hand, to float32's digits."""
    steps, peak = 30, 0.4
    schedule = create_schedule(peak, steps, warmup)
    for step in range(steps + 1):
        if step < warmup:
            expected = peak * step / warmup
        else:
            expected = peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6), step
    assert float(schedule(0)) == 0
    assert float(schedule(warmup)) == pytest.approx(peak, rel=1e-6)
    assert float(schedule((steps + warmup) // 2)) == pytest.approx(peak / 2, rel=0.2)


def test_schedule_without_warmup():
    """The first step already has the peak."""
    schedule = create_schedule(0.4, 8, 0)
    expected = [0.4 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    np.testing.assert_allclose([float(schedule(step)) for step in range(9)], expected, rtol=0, atol=1e-6)
    assert expected[4] == pytest.approx(0.2)


@pytest.mark.parametrize("steps, warmup", [(30, 0), (30, 1), (30, 7), (30, 29), (1, 0)])
def test_linear(steps, warmup):
    """The straight lines through (0, 0), (warmup, peak) and (steps, 0), by NumPy; after the end 0. 1e-6 for float32."""
    schedule = create_schedule(0.4, steps, warmup, "linear")
    points = [(0, 0)] * bool(warmup) + [(warmup, 0.4), (steps, 0)]
    found = [float(schedule(tf.constant(step, tf.int64))) for step in range(steps + 3)]
    np.testing.assert_allclose(found, np.interp(range(steps + 3), *zip(*points, strict=True)), atol=1e-6)


def test_linear_is_saved_with_its_optimizer():
    """The same after a round trip."""
    schedule = create_schedule(0.4, 30, 5, "linear")
    again = LinearDecay.from_config(schedule.get_config())
    np.testing.assert_array_equal(schedule(tf.range(30)), again(tf.range(30)))


def test_unknown_schedule():
    with pytest.raises(ValueError, match=r"^train.schedule='step' is not allowed: it must be one of cosine, linear$"):
        create_schedule(0.4, 30, 5, "step")


def test_recipe_chooses_the_schedule():
    """Of the learning rate, and of AdamW's decay, which follows it."""
    settings = dict(lr=0.4, steps=30, warmup_steps=5, weight_decay=0.5)
    for schedule in ("cosine", "linear"):
        optimizer = create_optimizer(train_settings(optimizer="adamw", schedule=schedule, **settings))
        expected = create_schedule(0.4, 30, 5, schedule)
        for step in (3, 9, 20):
            assert float(optimizer.learning_rate(step)) == float(expected(step))
            assert float(optimizer.weight_decay(step)) == pytest.approx(float(expected(step)) / 2, abs=1e-7)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [5, 3])
def test_schedule_whose_run_ends_in_the_warmup(steps, kind):
    """A short trial of a recipe with a long warm-up: still linear, never above the peak, always a number."""
    schedule = create_schedule(1.0, steps, 5, kind)
    np.testing.assert_allclose([float(schedule(step)) for step in range(steps)], [step / 5 for step in range(steps)], atol=1e-6)
