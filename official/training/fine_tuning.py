"""Fine-tuning: frozen layers, and learning rates that decay with a layer's depth."""

import numpy as np

from official.checkpoints.weights import plain_name


def freeze(model, names):
    """Freezes the weights of some layers; call it before the optimizer's state is created.

    A frozen layer still computes as in training, with dropout and router noise.

    Args:
      model: a built Keras model.
      names: names of its top-level layers, or of layers in those, such as "encoder/attention_0"; `train.frozen` of a recipe.

    Raises:
      ValueError: an unknown name, or no weight left to train.
    """
    known = {layer.name: layer for layer in model.layers}
    inner = {
        f"{name}/{child.name}": child
        for name, layer in known.items()
        for child in layer._flatten_layers(recursive=False, include_self=False)
        if child.weights
    }
    for name in names:
        if name not in known and name not in inner:
            beside = [part for part in inner if "/" in name and part.startswith(f"{name.partition('/')[0]}/")]
            allowed = ", ".join(beside or known)
            raise ValueError(f"train.frozen={tuple(names)!r} is not allowed: it must be among the model's layers: {allowed}")
    for name in names:
        {**known, **inner}[name].trainable = False
    if not model.trainable_weights:
        raise ValueError(f"train.frozen={tuple(names)!r} is not allowed: it must leave at least one layer trainable")


def update_scales(layer_decay, depths, last, weights):
    """The factor of each weight's update, layer_decay ** (last - depth) (arXiv:2003.10555; arXiv:2106.08254).

    Args:
      layer_decay: in (0, 1].
      depths: {name of a weight: its depth}, an int in [0, last] or an array of ints that broadcasts to the weight.
      last: depth of the last layer, whose factor is 1.
      weights: the weights to be trained.

    Returns:
      {name of a weight, as plain_name gives it: factor}, floats or nested lists of floats; weights with factor 1 are left out.

    Raises:
      ValueError: two weights of one name, or a weight whose depth is unknown or does not broadcast to it.
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
        # Broadcasting compares axes from the last one on: each must have length 1 or the weight's.
        axes = zip(reversed(depth.shape), reversed(shape), strict=False)
        if depth.ndim > len(shape) or any(length not in (1, wanted) for length, wanted in axes):
            raise ValueError(f"{name}: depths of shape {depth.shape} do not fit a weight of shape {shape}")
        scale = layer_decay ** (last - depth)
        if (scale != 1).any():
            scales[name] = scale.tolist()
    return scales
