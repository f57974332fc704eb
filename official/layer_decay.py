"""Layer-wise learning-rate decay: the nearer to the input, the smaller a pretrained weight's updates."""

import numpy as np

from official.updates import plain_name


def update_scales(layer_decay, depths, last, weights):
    """The factor of each weight's update, layer_decay ** (last - depth) (arXiv:2003.10555; arXiv:2106.08254).

    Args:
      layer_decay: in (0, 1].
      depths: {name of a weight: its depth}, an int in [0, last] or an array of such that broadcasts to the weight.
      last: depth of the last layer, which is updated in full.
      weights: the weights to be trained.

    Returns:
      {name of a weight, without ":0": factor}, floats or nested lists of floats; weights whose factor is 1 are left out.

    Raises:
      ValueError: two weights of one name, or one whose depth is not among `depths` or does not broadcast to it.
    """
    depths = {plain_name(name): np.asarray(depth) for name, depth in depths.items()}
    names = [plain_name(weight.name) for weight in weights]
    scales = {}
    for name, weight in zip(names, weights, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"{name}: several weights have this name")
        if name not in depths:
            raise ValueError(f"{name}: its depth is not known")
        depth = depths[name]
        if depth.min() < 0 or depth.max() > last:
            raise ValueError(f"{name}: depth {depth.tolist()} is not allowed: it must be from 0 to {last}")
        shape = tuple(weight.shape)
        # From the last axis on, as broadcasting goes: an axis of one, or as long as the weight's.
        axes = zip(reversed(depth.shape), reversed(shape), strict=False)
        if depth.ndim > len(shape) or any(length not in (1, wanted) for length, wanted in axes):
            raise ValueError(f"{name}: depths of shape {depth.shape} do not fit a weight of shape {shape}")
        scale = layer_decay ** (last - depth)
        if (scale != 1).any():
            scales[name] = scale.tolist()
    return scales
