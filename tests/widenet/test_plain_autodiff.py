"""Custom gradients, and the ones that TensorFlow derives in their place where a graph is saved."""

import numpy as np
import pytest
import tensorflow as tf

from tests.graphs import graph_def_of
from widenet import Encoder
from widenet.fast_path import CONTEXT, custom_gradient, plain_autodiff


@custom_gradient
def doubled(x):
    return 2 * x, lambda upstream: 5 * upstream  # wrong, so that one sees which is taken


def gradient_of_doubled():
    with tf.GradientTape() as tape:
        x = tf.Variable(1.0)
        y = doubled(x)
    return float(y), float(tape.gradient(y, x))


def test_custom_or_derived():
    """The value is the same, and outside all is as before, after an error too."""
    assert gradient_of_doubled() == (2, 5)
    with plain_autodiff():
        assert CONTEXT.plain_autodiff
        assert gradient_of_doubled() == (2, 2)
    with pytest.raises(KeyError), plain_autodiff():
        raise KeyError
    assert not CONTEXT.plain_autodiff
    assert gradient_of_doubled() == (2, 5)


@pytest.mark.further_cases
@pytest.mark.parametrize("policy, atol", [("float64", 1e-12), ("mixed_bfloat16", 0.05)])
def test_an_encoder_has_the_same_gradients(policy, atol):
    """Both ways, dropped tokens and padding included; of bfloat16 sums are rounded in another order: 5 % of the largest."""
    tf.keras.mixed_precision.set_global_policy(policy)
    encoder = Encoder(2, 8, 2, ffn_dim=12, num_experts=3, eval_capacity_factor=0.7)
    x = tf.random.stateless_normal([3, 5, 8], (1, 2))
    mask = tf.sequence_mask([5, 3, 4])
    encoder(x, mask=mask)

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(encoder(x, mask=mask, training=False), tf.float32) ** 3)
        return tape.gradient(loss, encoder.trainable_weights)

    custom = gradients()
    with plain_autodiff():
        derived = gradients()
    for weight, one, other in zip(encoder.trainable_weights, custom, derived, strict=True):
        one, other = np.array(one), np.array(other)
        np.testing.assert_allclose(other, one, rtol=0, atol=atol * max(1, np.abs(one).max()), err_msg=weight.name)


def test_a_saved_graph_has_none():
    """Each would be an IdentityN that names its gradient."""
    encoder = Encoder(1, 8, 2, ffn_dim=12, num_experts=2)
    encoder(tf.ones([1, 2, 8]))

    def custom_ones():
        graph = graph_def_of(encoder, tf.TensorSpec([None, 2, 8]))
        return [node.name for node in graph.node if "_gradient_op_type" in node.attr]

    assert custom_ones()
    with plain_autodiff():
        assert custom_ones() == []
