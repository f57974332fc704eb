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

FITTED_TOKENS = 16_384  # of each block; 40 times as many as there are numbers to fit for each expert at D = 384
SCALE = 20.0  # c
RIDGE = 1e-5  # r, in units of the mean square of an input's element
HELD_OUT = 4  # every fourth batch is kept for the measurement


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


def split_batches(inputs):
    """Batches of inputs as two lists: those to fit to, and those to measure on, at least one of each.

    Raises:
      ValueError: fewer than two batches.
    """
    batches, tokens = [], 0
    for batch in inputs if inputs is not None else ():
        batches.append(batch)
        tokens += 1
    if len(batches) < 2:
        raise ValueError(
            f"inputs={inputs!r} is not allowed: it must have at least two batches, since blocks with FFNs of their own share "
            "experts (ffn_groups), and a router is fitted to know the blocks from their inputs"
        )
    held_out = batches[HELD_OUT - 1 :: HELD_OUT] or batches[-1:]
    return [batch for batch in batches if not any(batch is other for other in held_out)], held_out


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


def fit_routers(child, parent, layers, batches):
    """Fits the routers of a child's MoE layers and assigns them.

    Args:
      child: the Encoder, with all its other weights.
      parent: the parent model.
      layers: list of BlockRoutings.
      batches: list of inputs of the parent.

    Returns:
      {block: the expert that it is to use}.
    """
    source = parent.get_layer("encoder")
    width = source.width
    squares = {layer.index: np.zeros([width, width]) for layer in layers}
    sums, errors, tokens = {}, {}, {layer.index: 0 for layer in layers}
    for batch in batches:
        blocks = record(parent, batch)
        for layer in layers:
            for b, ffn in layer.ffns.items():
                h = blocks[b][0]
                wide = h.numpy().astype(np.float64)
                squares[layer.index] += wide.T @ wide
                sums[b] = sums.get(b, 0) + wide.sum(axis=0)
                tokens[layer.index] += len(wide)
                if ffn not in layer.experts:
                    own = source.dense_layers[ffn](h)
                    gaps = [tf.reduce_sum(tf.square(source.dense_layers[j](h) - own)).numpy() for j in layer.experts]
                    errors[b] = errors.get(b, 0) + np.array(gaps, np.float64)
    targets = {}
    for layer in layers:
        of_expert = np.zeros([width, len(layer.experts)])
        for b, ffn in layer.ffns.items():
            targets[b] = layer.experts.index(ffn) if ffn in layer.experts else int(np.argmin(errors[b]))
            of_expert[:, targets[b]] += sums[b]
        square = squares[layer.index]
        ridge = RIDGE * np.trace(square) / width
        kernel = np.linalg.solve(square + ridge * np.eye(width), of_expert)
        child.moe_layers[layer.index].router.kernel.assign(SCALE * kernel)
    return targets


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
