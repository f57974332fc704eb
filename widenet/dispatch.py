"""Tokens to their experts and back: exact, linear in the number of tokens, by gathers in both directions.

Axes: tokens T, choices K, experts E, width D, rows R of the experts' inputs.

The plan: an assignment is a pair (token, choice), numbered token * K + choice. Each expert owns a group of rows; the groups
follow one another, and the last row belongs to no expert. A counting sort (a one-hot over experts and its running sum) gives
every assignment its position among those of the same expert: all first choices before all second choices, and tokens in order
within a choice. An assignment is kept if its position is below the expert's capacity; its slot is then the group's first row
plus the position. A dropped assignment gets the last row. `slots` maps assignments to rows, and its inverse `assignments` maps
rows to assignments. With both, forward and backward pass only gather: there is no [T, E, capacity] one-hot and no gradient that
scatters. If XLA compiles the program, all groups have one static size, that of the capacity; otherwise a group is as long as
the tokens it has, so no empty room is computed.
"""

from typing import NamedTuple

import tensorflow as tf

from widenet.fast_path import custom_gradient, elementwise
from widenet.layer import at_least_float32

# Groups whose sizes follow the routing are rounded up to a multiple of this many rows: matrix products prepare for each new size,
# and so meet few sizes.
GROUP_ROWS = 16


class Dispatch(NamedTuple):
    """The row of each assignment, and the assignment of each row.

    Attributes:
      slots: int32 [T, K], the row of each assignment; R - 1 where it is dropped or the token is padding.
      kept: bool [T, K], whether it has a row of its own.
      assignments: int32 [R], the assignment of each row; T * K where it has none.
      sizes: the rows of each expert's group: a list of Python ints where they are static, else int32 [E].
      loads: int32 [E], how many rows of each group have an assignment.
    """

    slots: tf.Tensor
    kept: tf.Tensor
    assignments: tf.Tensor
    sizes: list | tf.Tensor
    loads: tf.Tensor


def plan_dispatch(experts, mask, num_experts, capacity, group_size=None, order=None):
    """Gives every assignment its row.

    Args:
      experts: int [T, K].
      mask: bool [T], True for real tokens.
      num_experts: E.
      capacity: how many assignments one expert keeps, a Python int or an int scalar.
      group_size: rows of every group, a Python int or an int scalar of at least `capacity`; None for as many as needed.
      order: int32 [T], the tokens in the order in which they take slots within a choice; None for their own.
    """
    tokens, choices = length(experts), experts.shape[-1]
    in_order = experts if order is None else tf.gather(experts, order)
    real = mask if order is None else tf.gather(mask, order)
    by_choice = tf.reshape(tf.transpose(in_order), [-1])  # [K * T], all first choices first
    taken = tf.one_hot(by_choice, num_experts, dtype=tf.int32) * tf.cast(tf.tile(real, [choices]), tf.int32)[:, tf.newaxis]
    totals = tf.cumsum(taken, axis=0)  # [K * T, E]
    position = tf.reduce_sum((totals - 1) * taken, axis=-1)
    capacity = tf.cast(capacity, tf.int32)
    kept = tf.logical_and(tf.tile(real, [choices]), position < capacity)
    loads = tf.minimum(tf.reduce_sum(taken, axis=0), capacity)

    if group_size is None:
        # Rounded up without negative numbers: other runtimes (ONNX) round their quotients towards zero, not down.
        sizes = (loads + GROUP_ROWS - 1) // GROUP_ROWS * GROUP_ROWS
        rows = tokens * choices + num_experts * (GROUP_ROWS - 1) + 1
        first_rows = tf.cumsum(sizes, exclusive=True)
    else:
        sizes = tf.fill([num_experts], group_size) if tf.is_tensor(group_size) else [group_size] * num_experts
        rows = num_experts * group_size + 1
        first_rows = tf.range(num_experts) * group_size
    slots = tf.where(kept, tf.gather(first_rows, by_choice) + position, rows - 1)

    def by_token(of_choices):
        """[K * T] in the order of taking to [T, K] in the order of tokens."""
        in_order = tf.transpose(tf.reshape(of_choices, [choices, tokens]))
        return in_order if order is None else tf.gather(in_order, tf.math.invert_permutation(order))

    slots, kept = by_token(slots), by_token(kept)
    # Dropped assignments are written beyond the last row and cut off.
    targets = tf.where(kept, slots, rows)
    assignments = tf.tensor_scatter_nd_update(
        tf.fill([rows + 1], tokens * choices), tf.reshape(targets, [-1, 1]), tf.range(tokens * choices)
    )[:-1]
    return Dispatch(slots, kept, assignments, sizes, loads)


def length(x):
    """Size of the first axis: a Python int if it is known, so that everything computed from it is static too."""
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def _elements(x, times):
    """`times` the number of elements of x, or None if it is unknown."""
    elements = x.shape.num_elements()
    return None if elements is None else times * elements


def _with_zero_row(x):
    """Float [T, D] to [T + 1, D]: adds a token of zeros, which rows without an assignment read."""
    return tf.pad(x, [[0, 1], [0, 0]])


def gather_tokens(x, dispatch):
    """Fills the experts' rows: float [T, D] to [R, D]; rows without an assignment are zero."""
    choices = dispatch.slots.shape[1]
    sum_kept = _sum_kept.for_size(_elements(x, choices))

    # The plan's tensors are arguments too: TensorFlow would take captured tensors for uses of variables.
    @custom_gradient
    def gather(x, slots, kept, assignments):
        return tf.gather(_with_zero_row(x), assignments // choices), lambda upstream: (
            sum_kept(_gather_choices(upstream, slots), kept),
            None,
            None,
            None,
        )

    return gather(x, dispatch.slots, dispatch.kept, dispatch.assignments)


def split_groups(rows, sizes):
    """[R, D] to the E groups, without the rows after the last group."""
    if isinstance(sizes, list):
        return tf.split(rows, [*sizes, rows.shape[0] - sum(sizes)])[:-1] if sizes[0] else [rows[:0]] * len(sizes)
    return tf.split(rows, tf.concat([sizes, [length(rows) - tf.reduce_sum(sizes)]], axis=0), num=sizes.shape[0] + 1)[:-1]


def join_groups(groups, rows):
    """The E groups to [R, D], with zeros after the last group."""
    joined = sum(length(group) for group in groups)
    joined = tf.concat([*groups, tf.zeros([rows - joined, groups[0].shape[-1]], groups[0].dtype)], axis=0)
    return tf.ensure_shape(joined, [rows if isinstance(rows, int) else None, groups[0].shape[-1]])


def combine_outputs(rows, gates, dispatch):
    """MoE(x) = sum_i g_i(x) e_i(x), the paper's first equation: [R, D] and gates [T, K] to [T, D]."""
    choices = dispatch.slots.shape[1]
    scale_rows, gate_gradients = (function.for_size(_elements(rows, 1)) for function in (_scale_rows, _gate_gradients))

    @custom_gradient
    def combine(rows, gates, slots, kept, assignments):
        def gradient(upstream):
            row_gates = tf.gather(tf.pad(tf.reshape(gates, [-1]), [[0, 1]]), assignments)
            of_rows = scale_rows(tf.gather(_with_zero_row(upstream), assignments // choices), row_gates)
            of_gates = gate_gradients(_gather_choices(rows, slots), upstream, kept)
            return of_rows, tf.cast(of_gates, gates.dtype), None, None, None

        return _weighted_sum(_gather_choices(rows, slots), gates, kept), gradient

    return combine(rows, gates, dispatch.slots, dispatch.kept, dispatch.assignments)


def _gather_choices(rows, slots):
    """The rows of all assignments, [R, D] to [K, T, D].

    The choices come first, as a TPU pads the last axis but one to a multiple of 8.
    """
    return tf.gather(rows, tf.transpose(slots))


@elementwise
def _sum_kept(of_assignments, kept):
    """[K, T, D] and [T, K] to [T, D], over the kept."""
    return _add_kept(_wide_choices(of_assignments), kept, of_assignments.dtype)


@elementwise
def _weighted_sum(of_assignments, gates, kept):
    """[K, T, D], [T, K] and [T, K] to [T, D], over the kept."""
    choices = _wide_choices(of_assignments)
    by_choice = tf.unstack(tf.cast(gates, choices[0].dtype), axis=1)
    terms = [choice * gate[:, tf.newaxis] for choice, gate in zip(choices, by_choice, strict=True)]
    return _add_kept(terms, kept, of_assignments.dtype)


def _wide_choices(of_assignments):
    """One tensor [T, D] a choice: XLA makes one loop on all threads of these, but not of a reduction."""
    return [tf.cast(choice, at_least_float32(choice.dtype)) for choice in tf.unstack(of_assignments)]


def _add_kept(terms, kept, dtype):
    by_choice = tf.unstack(kept, axis=1)
    return tf.cast(tf.add_n([tf.where(own[:, tf.newaxis], term, 0) for term, own in zip(terms, by_choice, strict=True)]), dtype)


@elementwise
def _scale_rows(rows, gates):
    """[R, D] and [R] to [R, D]."""
    return tf.cast(tf.cast(rows, gates.dtype) * gates[:, tf.newaxis], rows.dtype)


@elementwise
def _gate_gradients(of_assignments, upstream, kept):
    """[K, T, D] and [T, D] to [T, K]: <output of the assignment, upstream gradient of its token>."""
    upstream = tf.cast(upstream, at_least_float32(upstream.dtype))
    products = [tf.reduce_sum(choice * upstream, axis=-1) for choice in _wide_choices(of_assignments)]
    return tf.where(kept, tf.stack(products, axis=1), 0)
