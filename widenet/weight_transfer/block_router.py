"""A router that knows a block from its input, so that blocks that share experts each use their own.

Where blocks with FFNs of their own become blocks of one MoE layer, the FFNs become its experts. The input of block b must then go
to expert e(b), which is a classification of tokens: f(x) = x W is fitted to c times the one-hot vectors of e(b) by ridge
regression, in closed form: W = c (H^T H + r I)^-1 H^T Y, with the inputs H [tokens, D] and the one-hot vectors Y [tokens, E].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from widenet.expert_load import recording_assignments
from widenet.fast_path import CONTEXT, setting
from widenet.weight_transfer.mapping import format_ranges

FITTED_TOKENS = 16_384  # of each block; 40 times as many as there are numbers to fit for each expert at D = 384
SCALE = 20.0  # c
RIDGE = 1e-5  # r, in units of the mean square of an input's element
HELD_OUT = 4  # one batch of so many is kept for the measurement


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


def fit_routers(parent, layers, inputs):
    """Fits the routers of MoE layers whose experts are a parent's FFNs.

    A block whose own FFN is not among the experts goes to the one whose outputs for its inputs are nearest to those of its own,
    by the sum of squared differences.

    Args:
      parent: the dense model.
      layers: list of BlockRoutings.
      inputs: iterable of batches of inputs of the parent, of which as many are read as are needed; or None.

    Returns:
      ({index of the layer: router kernel, float64 [D, E]}, {block: the expert that it is to use}, list of batches that were kept
      for `measure`).

    Raises:
      ValueError: fewer than two batches.
    """
    encoder = parent.get_layer("encoder")
    ffns = {b: ffn for layer in layers for b, ffn in layer.ffns.items()}
    sums, squares, gaps, held_out, tokens = {}, {}, {}, [], 0
    for number, batch in enumerate(() if inputs is None else inputs):
        if number % HELD_OUT == 1:
            held_out.append(batch)
            if tokens >= FITTED_TOKENS:
                break
            continue
        blocks = record(parent, batch)
        tokens += len(blocks[0][0])
        for layer in layers:
            for b, ffn in layer.ffns.items():
                h = blocks[b][0]
                wide = h.numpy().astype(np.float64)
                squares[layer.index] = squares.get(layer.index, 0) + wide.T @ wide
                sums[b] = sums.get(b, 0) + wide.sum(axis=0)
                if ffn not in layer.experts:
                    own = encoder.dense_layers[ffn](h)
                    found = [tf.reduce_sum(tf.square(encoder.dense_layers[j](h) - own)).numpy() for j in layer.experts]
                    gaps[b] = gaps.get(b, 0) + np.array(found, np.float64)
    if not held_out:
        raise ValueError(
            f"inputs={inputs!r} is not allowed: it must have at least two batches, to which the router of blocks with FFNs of "
            f"their own (ffn_groups; blocks {format_ranges(ffns)}) is fitted and on which it is measured"
        )
    kernels, targets = {}, {}
    for layer in layers:
        of_experts = np.zeros([encoder.width, len(layer.experts)])  # H^T Y
        for b, ffn in layer.ffns.items():
            targets[b] = layer.experts.index(ffn) if ffn in layer.experts else int(np.argmin(gaps[b]))
            of_experts[:, targets[b]] += sums[b]
        square = squares[layer.index]
        ridge = RIDGE * np.trace(square) / encoder.width
        kernels[layer.index] = SCALE * np.linalg.solve(square + ridge * np.eye(encoder.width), of_experts)
    return kernels, targets, held_out


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
