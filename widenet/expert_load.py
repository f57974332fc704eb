"""How many tokens each expert gets, block by block: summed over calls on the device, or example by example.

MoE layers append their counts to the lists that `recording` or `recording_assignments` yield, and the margins of their choices to
that of `recording_margins`. Outside these context managers (predict, export) no operation is added to the graph.
"""

import contextlib
from typing import Any, NamedTuple

import tensorflow as tf

from widenet.fast_path import CONTEXT, setting
from widenet.layer import register
from widenet.routing import balance_loss


class BlockLoad(NamedTuple):
    """The counts of one MoE block in one step, float32.

    Attributes:
      kept: [E], assignments (token, choice) that each expert computed.
      dropped: scalar, assignments for which their expert had no room.
      balance: scalar, the balance loss E * sum_i m_i * P_i without its weight lambda.
    """

    kept: tf.Tensor
    dropped: tf.Tensor
    balance: tf.Tensor


def recording():
    """Yields a list that gets the BlockLoad of every MoE block called inside, in the order of the calls."""
    return _recording("loads")


def recording_assignments():
    """Yields a list that gets the assignments of every MoE block called inside, in the order of the calls.

    Each is int32 [batch, E]: how many (token, choice) of each example the router gave to each expert, with or without room there.
    """
    return _recording("assignments")


def recording_margins():
    """Yields a list that gets the margins of every MoE block called inside, in the order of the calls.

    Each is float [batch]: over the real tokens of an example, the smallest difference between the probability of the K-th expert
    and that of the next one; infinity if there is no next expert or no real token.
    """
    return _recording("margins")


@contextlib.contextmanager
def _recording(field):
    records = []
    with setting(**{field: records}):
        yield records


def record_load(routing, loads, mask):
    """Adds one block's load to the active recording, if there is one.

    Args:
      routing: a Routing of tokens [T].
      loads: int32 [E], the assignments that each expert keeps.
      mask: bool [T], the real tokens.
    """
    if CONTEXT.loads is None:
        return
    kept = tf.cast(loads, tf.float32)
    assigned = tf.reduce_sum(tf.cast(mask, tf.float32)) * routing.experts.shape[-1]
    balance = tf.cast(balance_loss(routing.probabilities, routing.experts, mask), tf.float32)
    CONTEXT.loads.append(BlockLoad(*map(tf.stop_gradient, (kept, assigned - tf.reduce_sum(kept), balance))))


def record_assignments(routing, mask, x):
    """Adds one block's assignments to the active recording of them, if there is one.

    Args:
      routing: a Routing of tokens [T].
      mask: bool [T], the real tokens; padding counts nowhere.
      x: [batch, length, D], the tokens before they were flattened.
    """
    if CONTEXT.assignments is None:
        return
    num_experts = routing.probabilities.shape[-1]
    listed = tf.reduce_sum(tf.one_hot(routing.experts, num_experts, dtype=tf.int32), axis=-2)  # [T, E]
    listed *= tf.cast(mask, tf.int32)[:, tf.newaxis]
    CONTEXT.assignments.append(tf.reduce_sum(tf.reshape(listed, [*tf.unstack(tf.shape(x)[:2]), num_experts]), axis=1))


def record_margins(routing, mask, x):
    """Adds one block's margins to the active recording of them, if there is one. Arguments as for record_assignments."""
    if CONTEXT.margins is None:
        return
    infinity = tf.constant(float("inf"), routing.probabilities.dtype)
    choices, num_experts = routing.experts.shape[-1], routing.probabilities.shape[-1]
    if choices == num_experts:
        margins = tf.fill(tf.shape(mask), infinity)
    else:
        # Of the probabilities and not of the gates, which may be renormalized.
        ranked = tf.math.top_k(routing.probabilities, k=choices + 1).values
        margins = tf.where(mask, ranked[:, -2] - ranked[:, -1], infinity)
    CONTEXT.margins.append(tf.reduce_min(tf.reshape(margins, tf.shape(x)[:2]), axis=1))


def join_assignments(records, blocks, num_experts):
    """Joins the records of one forward pass in one tensor.

    Args:
      records: list of int32 [batch, experts of that block], one a block for every call of the encoder.
      blocks: number of MoE blocks.
      num_experts: E; if encoders differ, the largest.

    Returns:
      int32 [batch, blocks, E], the sum over the calls of a block; 0 for experts that a block does not have.

    Raises:
      ValueError: a number of records that is not a multiple of `blocks`.
    """
    _check_calls(records, blocks)
    counts = tf.stack([_padded(count, num_experts) for count in records], axis=1)
    return tf.reduce_sum(tf.reshape(counts, [tf.shape(counts)[0], -1, blocks, num_experts]), axis=1)


def _padded(counts, num_experts):
    """Zeros after the last axis, up to E."""
    return tf.pad(counts, [[0, 0]] * (counts.shape.rank - 1) + [[0, num_experts - counts.shape[-1]]])


def _check_calls(records, blocks):
    if len(records) % blocks:
        counts = f"{len(records)} MoE calls were recorded and {blocks} expected"
        raise ValueError(f"{counts}: the MoE layers of a widenet.Model must be in its Encoders")


@register
class ExpertLoad(tf.keras.metrics.Metric):
    """Expert load over all steps since the last reset, weighted by tokens.

    Its result is {"balance": ..., "dropped": ...}, means over the blocks, for progress bars; `table` has every block.

    Args:
      blocks: number of MoE calls in a forward pass.
      num_experts: E; if encoders differ, the largest.
    """

    def __init__(self, blocks: int, num_experts: int, name: str = "expert_load", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.blocks = blocks
        self.num_experts = num_experts
        self.kept = self.add_weight("kept", (blocks, num_experts), initializer="zeros", dtype=tf.float32)
        self.dropped = self.add_weight("dropped", (blocks,), initializer="zeros", dtype=tf.float32)
        self.balance = self.add_weight("balance", (blocks,), initializer="zeros", dtype=tf.float32)

    def update_state(self, records: list[BlockLoad]) -> None:
        """Adds one step's list of BlockLoad, one a block for every call of the encoder.

        Raises:
          ValueError: a number of records that is not a multiple of `blocks`.
        """
        _check_calls(records, self.blocks)
        kept, dropped, balance = zip(*records, strict=True)
        kept = tf.stack([_padded(row, self.num_experts) for row in kept])
        dropped, balance = tf.stack(dropped), tf.stack(balance)
        balance *= tf.reduce_sum(kept, axis=-1) + dropped
        for variable, counts in ((self.kept, kept), (self.dropped, dropped), (self.balance, balance)):
            variable.assign_add(tf.reduce_sum(tf.reshape(counts, [-1, *variable.shape]), axis=0))

    def shares(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Tensors: experts' shares of all assignments [blocks, E], dropped share [blocks], balance [blocks].

        A block's shares and its dropped share sum to 1.
        """
        total = tf.reduce_sum(self.kept, axis=-1) + self.dropped
        return (
            tf.math.divide_no_nan(self.kept, total[:, tf.newaxis]),
            tf.math.divide_no_nan(self.dropped, total),
            tf.math.divide_no_nan(self.balance, total),
        )

    def result(self) -> dict[str, tf.Tensor]:
        _, dropped, balance = self.shares()
        return {"balance": tf.reduce_mean(balance), "dropped": tf.reduce_mean(dropped)}

    def table(self) -> list[dict[str, int | float]]:
        """Rows of plain numbers, one a block: {"block", "expert_0", ..., "dropped", "balance"}. Waits for the device.

        Raises:
          ValueError: if nothing was counted since the last reset.
        """
        if not tf.reduce_any(self.kept + self.dropped[:, tf.newaxis] > 0):
            raise ValueError(
                f"{self.name} has counted nothing since its last reset: call table() after fit, evaluate or a call of a "
                "widenet.Model with training=True"
            )
        experts, dropped, balance = (tensor.numpy() for tensor in self.shares())
        return [
            {
                "block": block,
                **{f"expert_{e}": float(share) for e, share in enumerate(experts[block])},
                "dropped": float(dropped[block]),
                "balance": float(balance[block]),
            }
            for block in range(self.blocks)
        ]

    def reset_state(self) -> None:
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing: counts are not part of a model's files."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing, as nothing was saved."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "blocks": self.blocks, "num_experts": self.num_experts}
