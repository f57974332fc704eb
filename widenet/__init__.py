"""WideNet: one transformer encoder under different parameter deployments, as Keras layers.

"Go Wider Instead of Deeper" (AAAI 2022, arXiv:2107.11817), called "the paper" in this package's docstrings. A map:

- deployment.py: which weights are shared over depth, and the models as rows of one table
- encoder.py: the Encoder, one loop over depth; model.py: a Keras model that counts its experts' load
- attention.py, norm.py, feed_forward.py: the parts of a block
- moe.py: SharedMoE, the mixture of experts; router.py: its router
- routing.py: routing as pure functions, and the table of all settings of experts and router; dispatch.py: tokens to experts
- expert_load.py: counts of tokens by expert
- fast_path.py: what makes a training step fast, and the settings of it that each thread has
- draws.py: random numbers of a training step: dropout, and the noise of routers
- recomputation.py: blocks whose results in between the backward pass computes again
- layer.py, checks.py: the base of all layers, and refusals of wrong settings
- zoo.py, cost.py, depths.py: for zoos of models: an encoder's settings, its FLOPs, the depth of each weight
- weight_transfer/: starting from the weights of another deployment, and growing models with experts out of dense ones
"""

from typing import TYPE_CHECKING, Any

import widenet_keras  # before TensorFlow

widenet_keras.require()

from widenet.attention import SelfAttention
from widenet.deployment import Deployment
from widenet.encoder import Encoder
from widenet.expert_load import ExpertLoad
from widenet.feed_forward import FeedForward
from widenet.model import Model
from widenet.moe import SharedMoE
from widenet.norm import IndividualLayerNorm, norm_diversity
from widenet.router import Router
from widenet.routing import Routing

if TYPE_CHECKING:
    from widenet.weight_transfer import grow_model

__version__ = "0.1.0"  # pyproject.toml reads it from here
__all__ = [
    "Deployment",
    "Encoder",
    "ExpertLoad",
    "FeedForward",
    "IndividualLayerNorm",
    "Model",
    "Router",
    "Routing",
    "SelfAttention",
    "SharedMoE",
    "grow_model",
    "norm_diversity",
]


def __getattr__(name: str) -> Any:
    """`grow_model`, whose files only those import who grow a model."""
    if name == "grow_model":
        from widenet.weight_transfer import grow_model

        return grow_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
