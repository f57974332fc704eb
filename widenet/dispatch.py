"""Tokens to their experts and back, linear in the number of tokens.

Axes: tokens T, experts E, choices K, width D, buffer B (slots of one expert).

Every expert has a buffer of B slots, so that all shapes are known before the routing is and XLA can compile them. An
assignment (token, choice) goes to slot `expert * B + position`, its position being the number of assignments to the same
expert that come before it: first choices before second choices, and tokens in their order within a choice. It is dropped where
the position reaches the expert's capacity (which may be below B when some tokens are padding). Slots that nobody took read a
row of zeros, and dropped assignments read another: no [T, E, B] one-hot is ever made.
"""

from typing import NamedTuple

import tensorflow as tf


class Dispatch(NamedTuple):
    """Where each assignment goes.

    Attributes:
      slots: int32 [T, K], the slot in [0, E * B) of each assignment; E * B where it is dropped or the token is padding.
      kept: bool [T, K], whether it has a slot.
    """

    slots: tf.Tensor
    kept: tf.Tensor


def plan_dispatch(experts, mask, num_experts, buffer, capacity):
    """Gives every assignment its slot.

    Args:
      experts: int [T, K].
      mask: bool [T], True for real tokens.
      num_experts: E.
      buffer: B, a Python int or an int scalar.
      capacity: how many assignments one expert keeps, a Python int or an int scalar; at most B.
    """
    choices = experts.shape[-1]
    by_choice = tf.reshape(tf.transpose(experts), [-1])  # [K * T], all first choices first
    taken = tf.one_hot(by_choice, num_experts, dtype=tf.int32) * tf.cast(tf.tile(mask, [choices]), tf.int32)[:, tf.newaxis]
    before = tf.cumsum(taken, axis=0, exclusive=True)  # [K * T, E]
    position = tf.reduce_sum(before * taken, axis=-1)
    kept = tf.logical_and(tf.tile(mask, [choices]), position < tf.cast(capacity, tf.int32))
    buffer = tf.cast(buffer, tf.int32)
    slots = tf.where(kept, tf.cast(by_choice, tf.int32) * buffer + position, num_experts * buffer)
    back = [choices, tf.shape(experts)[0]]
    return Dispatch(tf.transpose(tf.reshape(slots, back)), tf.transpose(tf.reshape(kept, back)))


def gather_tokens(x, dispatch, num_experts, buffer):
    """Fills the experts' buffers: float [T, D] to [E, B, D], zeros in slots that nobody took."""
    tokens, choices = tf.shape(dispatch.slots)[0], dispatch.slots.shape[1]
    token_of_assignment = tf.repeat(tf.range(tokens), choices)
    # One slot more than there are, for all dropped assignments; token T is the row of zeros.
    token_of_slot = tf.tensor_scatter_nd_update(
        tf.fill([num_experts * buffer + 1], tokens), tf.reshape(dispatch.slots, [-1, 1]), token_of_assignment
    )
    filled = tf.gather(with_zero_row(x), token_of_slot[:-1])
    return tf.reshape(filled, [num_experts, buffer, x.shape[-1]])


def combine_outputs(outputs, dispatch, gates):
    """MoE(x) = sum_i g_i(x) e_i(x), the paper's first equation: [E, B, D] and gates [T, K] to [T, D]."""
    rows = with_zero_row(tf.reshape(outputs, [-1, outputs.shape[-1]]))
    return tf.einsum("tk,tkd->td", tf.cast(gates, rows.dtype), tf.gather(rows, dispatch.slots))


def with_zero_row(x):
    """Float [N, D] to [N + 1, D], the last row zero."""
    return tf.pad(x, [[0, 1], [0, 0]])
