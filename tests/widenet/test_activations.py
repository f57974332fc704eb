"""Activations against the formulas they are named after."""

import numpy as np
import pytest

from tests.widenet import reference
from widenet.feed_forward import ACTIVATIONS, get_activation

X = np.linspace(-4, 4, 33)

FORMULAS = {
    "gelu": reference.gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "linear": lambda x: x,
}


def test_every_activation_has_a_formula_here():
    assert set(ACTIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    # Float64, but TensorFlow rounds the constants of its GELUs to float32: 1e-8. The two GELUs differ by up to 5e-4.
    np.testing.assert_allclose(get_activation(name)(X), FORMULAS[name](X), atol=1e-7)


def test_exact_gelu_is_not_the_tanh_one():
    assert np.max(np.abs(get_activation("gelu")(X) - get_activation("gelu_tanh")(X))) > 1e-4
