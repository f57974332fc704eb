"""WideNet: one transformer encoder under different parameter deployments, as Keras layers.

"Go Wider Instead of Deeper" (AAAI 2022, arXiv:2107.11817), called "the paper" in this package's docstrings.
"""

from widenet.attention import SelfAttention
from widenet.deployment import Deployment
from widenet.encoder import Encoder
from widenet.expert_load import ExpertLoad
from widenet.feed_forward import FeedForward
from widenet.model import Model
from widenet.moe import SharedMoE
from widenet.norm import IndividualLayerNorm
from widenet.router import Router
from widenet.routing import Routing

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
]
