"""The learning rate over a run."""

import math

import numpy as np
import pytest

from official.optimizers import create_schedule


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


@pytest.mark.parametrize("steps", [5, 3])
def test_schedule_whose_run_ends_in_the_warmup(steps):
    """A short trial of a recipe with a long warm-up: still linear, never above the peak, always a number."""
    schedule = create_schedule(1.0, steps, 5)
    np.testing.assert_allclose([float(schedule(step)) for step in range(steps)], [step / 5 for step in range(steps)], atol=1e-6)
