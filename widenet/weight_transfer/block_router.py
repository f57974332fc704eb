"""A router that knows a block from its input, so that blocks that share experts each use their own.

Where blocks with FFNs of their own become blocks of one MoE layer, the FFNs become its experts. The input of block b must then go
to expert e(b), which is a classification of tokens: f(x) = x W is fitted to c times the one-hot vectors of e(b) by ridge
regression, in closed form: W = c (H^T H + r I)^-1 H^T Y, with the inputs H [tokens, D] and the one-hot vectors Y [tokens, E].
First H are the parent's inputs. Those of the grown model, with the router of these, are then added, and W is computed again.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from widenet.expert_load import recording_assignments
from widenet.fast_path import CONTEXT, setting
from widenet.weight_transfer.mapping import format_ranges

FITTED_TOKENS = 16_384  # of each block; 40 times as many as there are numbers to fit for each expert at D = 384
SCALE = 20.0  # c: at 10 the gates of MiniLM's tokens are too small, and from 50 on they are 1 where the router is wrong, too
RIDGE = 1e-5  # r, in units of the mean square of an input's element
HELD_OUT = 4  # one batch in four is kept for the measurement


class BlockRouting(NamedTuple):
    """What the router of an MoE layer is to do.

    Attributes:
      index: of the MoE layer.
      ffns: {block: its FFN in the parent}, of the blocks that use the layer.
      experts: tuple of the parent's FFNs that the experts take.
    """

    index: int
    ffns: dict
    experts: tuple


def record(model, inputs):
    """The model's forward pass outside training, as a list of (ffn_input, output) of each block, float [real tokens, D]."""
    with setting(blocks=[]):
        model(inputs, training=False)
        blocks = CONTEXT.blocks
    return [
        tuple(
            tf.reshape(x, [-1, x.shape[-1]]) if block.mask is None else tf.boolean_mask(x, block.mask)
            for x in (block.ffn_input, block.output)
        )
        for block in blocks
    ]


class RouterFit:
    """The routers of MoE layers whose experts are a parent's FFNs, fitted to inputs of its blocks.

    A block whose own FFN is not among the experts goes to the one whose outputs for its inputs are nearest to those of its own,
    by the sum of squared differences.

    Args:
      parent: the dense model.
      layers: list of BlockRoutings.
      inputs: iterable of batches of inputs of the parent, of which as many are read as are needed; or None.

    Attributes:
      targets: {block: the expert that it is to use}.
      held_out: list of the batches that are not fitted to, for `measure`.

    Raises:
      ValueError: fewer than two batches.
    """

    def __init__(self, parent, layers, inputs):
        self._layers = layers
        self._squares = {layer.index: 0 for layer in layers}  # H^T H
        self._sums = {b: 0 for layer in layers for b in layer.ffns}  # of the inputs of each block
        self._batches, self.held_out, tokens = [], [], 0
        gaps = dict.fromkeys(self._sums, 0)  # of each block, the squared differences by expert
        for number, batch in enumerate(() if inputs is None else inputs):
            if number % HELD_OUT == 1:
                self.held_out.append(batch)
                if tokens >= FITTED_TOKENS:
                    break
                continue
            self._batches.append(batch)
            blocks = record(parent, batch)
            tokens += len(blocks[0][0])
            self._add(blocks)
            for layer in layers:
                for b in layer.ffns:
                    gaps[b] = gaps[b] + _gaps(parent.get_layer("encoder"), layer, b, blocks[b][0])
        if not self.held_out:
            raise ValueError(
                f"inputs={inputs!r} is not allowed: it must have at least two batches, to which the router of blocks with FFNs "
                f"of their own (ffn_groups; blocks {format_ranges(self._sums)}) is fitted and on which it is measured"
            )
        self.targets = {b: int(np.argmin(gaps[b])) for b in gaps}

    def add(self, model):
        """Adds the inputs that the blocks of another model have for the same batches.

        A grown model that shares attention has other inputs than its parent, and its router must know the blocks from these.
        """
        for batch in self._batches:
            self._add(record(model, batch))

    def kernels(self):
        """{index of the layer: router kernel, float64 [D, E]}."""
        found = {}
        for layer in self._layers:
            square = self._squares[layer.index]
            of_experts = np.zeros([len(square), len(layer.experts)])  # H^T Y
            for b in layer.ffns:
                of_experts[:, self.targets[b]] += self._sums[b]
            ridge = RIDGE * np.trace(square) / len(square)
            found[layer.index] = SCALE * np.linalg.solve(square + ridge * np.eye(len(square)), of_experts)
        return found

    def _add(self, blocks):
        for layer in self._layers:
            for b in layer.ffns:
                h = blocks[b][0].numpy().astype(np.float64)
                self._squares[layer.index] = self._squares[layer.index] + h.T @ h
                self._sums[b] = self._sums[b] + h.sum(axis=0)


def _gaps(encoder, layer, block, h):
    """Float64 [E]: the sums of squared differences between the outputs for h of a block's own FFN and of each expert's."""
    own = layer.ffns[block]
    if own in layer.experts:
        return np.array([0.0 if ffn == own else np.inf for ffn in layer.experts])
    expected = encoder.dense_layers[own](h)
    return np.array([tf.reduce_sum(tf.square(encoder.dense_layers[ffn](h) - expected)).numpy() for ffn in layer.experts], float)


def measure(child, parent, targets, batches):
    """How near a child is to its parent.

    Args:
      child, parent: models.
      targets: {block: expert}, of the blocks with a fitted router.
      batches: list of inputs of both.

    Returns:
      (of each block of `targets`, the share of real tokens that have their expert among their K; of every block,
      ||child's outputs - parent's||^2 / ||parent's - their mean||^2 over real tokens), two lists of floats.
    """
    own, counted, errors, sums, squares, tokens = {}, {}, 0, 0, 0, 0
    moe = [b for b, block in enumerate(child.get_layer("encoder").blocks) if block.is_moe]
    choices = child.get_layer("encoder").top_k
    for batch in batches:
        theirs = [x.numpy().astype(np.float64) for _, x in record(parent, batch)]
        with recording_assignments() as assignments:
            ours = [x.numpy().astype(np.float64) for _, x in record(child, batch)]
        for b, counts in zip(moe, assignments, strict=True):
            if b in targets:
                own[b] = own.get(b, 0) + counts.numpy()[:, targets[b]].sum()
                counted[b] = counted.get(b, 0) + counts.numpy().sum() / choices
        errors += np.array([np.square(x - y).sum() for x, y in zip(ours, theirs, strict=True)])
        sums += np.stack([y.sum(axis=0) for y in theirs])
        squares += np.array([np.square(y).sum() for y in theirs])
        tokens += len(theirs[0])
    variance = squares - np.square(sums).sum(axis=1) / tokens
    return [float(own[b] / counted[b]) for b in sorted(own)], [float(share) for share in errors / variance]
