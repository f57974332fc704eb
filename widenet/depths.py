"""The depth in a model at which each of its weights is used."""

import numpy as np


def layer_depths(model):
    """The depth of every weight of a model: 0 for its layer "embedding", 1 to L in its Encoder "encoder", L + 1 for all else.

    Returns:
      {name of a weight: depth}, as encoder_depths gives them, and the depth of the last layer, L + 1.
    """
    encoder = model.get_layer("encoder")
    last = encoder.depth + 1
    depths = {weight.name: last for weight in model.weights}
    depths |= {weight.name: 0 for weight in model.get_layer("embedding").weights}
    return depths | encoder_depths(encoder), last


def encoder_depths(encoder):
    """The depth of every weight of a built Encoder: 1 to L for its blocks, and L + 1 for the final norm.

    A weight that several blocks share has the depth of the last block that uses it, and a router that of the last block that it
    routes.

    Returns:
      {name of a weight: depth}: an int, or for a bank of norms int [instances, 1], the depth of each row's last block.
    """
    depths = {}
    rows = {}
    makers = {}  # by routing group, the MoE layer whose router makes its routing

    def used(layer, depth):
        depths.update({weight.name: depth for weight in layer.weights})

    blocks = list(enumerate(encoder.blocks, start=1))  # a later block overwrites the depths of earlier ones
    for depth, block in blocks:
        used(encoder.attentions[block.attention], depth)
        used((encoder.moe_layers if block.is_moe else encoder.dense_layers)[block.ffn], depth)
        rows[block.norm] = depth
    for depth, block in blocks:  # after the above, since a router is part of an MoE layer
        if block.is_moe:
            used(encoder.moe_layers[makers.setdefault(block.routing, block.ffn)].router, depth)
    for norm in (encoder.attention_norm, encoder.ffn_norm):
        used(norm, np.array([[rows[row]] for row in range(norm.depth)]))
    if encoder.final_norm:
        used(encoder.final_norm, len(blocks) + 1)
    return depths
