"""How many tokens each expert gets, block by block, accumulated on the device and read once an epoch.

MoE layers hand their counts to whoever is `recording`; where nobody is (predict, export), no operation is added to the graph.
"""

import contextlib
import threading
from typing import NamedTuple

import tensorflow as tf

from widenet.layer import register
from widenet.routing import balance_loss


class BlockLoad(NamedTuple):
    """The counts of one MoE block in one step, float32.

    Attributes:
      kept: [E], assignments (token, choice) that each expert computed.
      dropped: scalar, assignments for which it had no room.
      balance: scalar, the balance loss E * sum_i m_i * P_i before its weight lambda.
    """

    kept: tf.Tensor
    dropped: tf.Tensor
    balance: tf.Tensor


_ACTIVE = threading.local()  # replicas of a MirroredStrategy run in threads of their own


@contextlib.contextmanager
def recording():
    """Yields a list that gets the BlockLoad of every MoE block called inside, in the order of the calls."""
    outer = getattr(_ACTIVE, "records", None)
    _ACTIVE.records = []
    try:
        yield _ACTIVE.records
    finally:
        _ACTIVE.records = outer


def record_load(routing, loads, mask):
    """Adds one block's load to the active recording, if there is one.

    Args:
      routing: a Routing of tokens [T].
      loads: int32 [E], the assignments that each expert keeps.
      mask: bool [T], the real tokens.
    """
    records = getattr(_ACTIVE, "records", None)
    if records is None:
        return
    kept = tf.cast(loads, tf.float32)
    assigned = tf.reduce_sum(tf.cast(mask, tf.float32)) * routing.experts.shape[-1]
    balance = tf.cast(balance_loss(routing.probabilities, routing.experts, mask), tf.float32)
    records.append(BlockLoad(*map(tf.stop_gradient, (kept, assigned - tf.reduce_sum(kept), balance))))


@register
class ExpertLoad(tf.keras.metrics.Metric):
    """Expert load over all steps since the last reset, weighted by tokens.

    Its result is {"balance": ..., "dropped": ...}, means over the blocks, for progress bars; `table` has every block.

    Args:
      blocks: number of MoE calls a forward pass.
      num_experts: E, the largest where encoders differ.
    """

    def __init__(self, blocks, num_experts, name="expert_load", **kwargs):
        super().__init__(name=name, **kwargs)
        self.blocks = blocks
        self.num_experts = num_experts
        self.kept = self.add_weight("kept", (blocks, num_experts), initializer="zeros", dtype=tf.float32)
        self.dropped = self.add_weight("dropped", (blocks,), initializer="zeros", dtype=tf.float32)
        self.balance = self.add_weight("balance", (blocks,), initializer="zeros", dtype=tf.float32)

    def update_state(self, records):
        """Adds one step's list of BlockLoad, one a block, or several times that where an encoder was called several times.

        Raises:
          ValueError: a number of records that is no multiple of `blocks`.
        """
        if len(records) % self.blocks:
            counts = f"{len(records)} MoE calls were recorded and {self.blocks} expected"
            raise ValueError(f"{counts}: the MoE layers of a widenet.Model stand in its Encoders")
        kept, dropped, balance = zip(*records, strict=True)
        kept = tf.stack([tf.pad(row, [[0, self.num_experts - row.shape[0]]]) for row in kept])
        dropped, balance = tf.stack(dropped), tf.stack(balance)
        balance *= tf.reduce_sum(kept, axis=-1) + dropped
        for variable, counts in ((self.kept, kept), (self.dropped, dropped), (self.balance, balance)):
            variable.assign_add(tf.reduce_sum(tf.reshape(counts, [-1, *variable.shape]), axis=0))

    def shares(self):
        """Tensors: experts' shares of all assignments [blocks, E], dropped share [blocks], balance [blocks].

        A block's shares and its dropped share sum to 1.
        """
        total = tf.reduce_sum(self.kept, axis=-1) + self.dropped
        return (
            tf.math.divide_no_nan(self.kept, total[:, tf.newaxis]),
            tf.math.divide_no_nan(self.dropped, total),
            tf.math.divide_no_nan(self.balance, total),
        )

    def result(self):
        _, dropped, balance = self.shares()
        return {"balance": tf.reduce_mean(balance), "dropped": tf.reduce_mean(dropped)}

    def table(self):
        """Rows of plain numbers, one a block: {"block", "expert_0", ..., "dropped", "balance"}. Waits for the device."""
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

    def reset_state(self):
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))

    def save_own_variables(self, store):
        """Saves nothing: what was counted is no part of a model's files."""

    def load_own_variables(self, store):
        """Loads nothing, as nothing was saved."""

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks, "num_experts": self.num_experts}
