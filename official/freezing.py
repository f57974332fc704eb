"""Layers whose weights stay as they are."""


def freeze(model, names):
    """Makes the layers of these names untrainable; call it before the optimizer's state is made.

    A frozen layer still computes as in training: its dropout and router noise stay on.

    Args:
      model: a built Keras model.
      names: names of its top-level layers, `train.frozen` of a recipe.

    Raises:
      ValueError: a name that no layer has, or no weight left to train.
    """
    known = [layer.name for layer in model.layers]
    if not set(names) <= set(known):
        raise ValueError(f"train.frozen={tuple(names)!r} is not allowed: it must be among the model's layers: {', '.join(known)}")
    for name in names:
        model.get_layer(name).trainable = False
    if not model.trainable_weights:
        raise ValueError(f"train.frozen={tuple(names)!r} is not allowed: it must be so that weights are left to train")
