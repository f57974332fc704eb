"""Starting a model from the weights of another: of another deployment, depth, or kind of feed-forward layer.

- mapping.py: which instance of a component corresponds to which, from numbers alone
- layers.py: one layer, and layers that consist of parts
- encoder.py: an Encoder
- model.py: a model with an Encoder and layers around it
- growth.py: a model with experts, grown out of a dense one
- block_router.py: the router of experts that were FFNs of different blocks
"""

from widenet.weight_transfer.encoder import transfer_encoder
from widenet.weight_transfer.growth import Growth, grow_model
from widenet.weight_transfer.layers import (
    Row,
    counted,
    mismatch,
    shapes,
    split_names,
    transfer_layer,
    transfer_parts,
    weights_by_name,
)
from widenet.weight_transfer.model import transfer_model

__all__ = [
    "Growth",
    "Row",
    "counted",
    "grow_model",
    "mismatch",
    "shapes",
    "split_names",
    "transfer_encoder",
    "transfer_layer",
    "transfer_model",
    "transfer_parts",
    "weights_by_name",
]
