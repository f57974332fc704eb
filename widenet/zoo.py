"""What every zoo of models around an Encoder shares: the settings of the encoder as one flat dict, and the encoder made of it."""

import dataclasses
import inspect
from typing import Literal

from widenet.deployment import DEPLOYMENTS, Deployment
from widenet.encoder import Encoder
from widenet.layer import Activation, Initializer, Regularizer
from widenet.routing import MOE_SETTINGS, MoESettings

DEPLOYMENT_SETTINGS = tuple(field.name for field in dataclasses.fields(Deployment))

# What the settings of every model mean, one line each.
MEANINGS = {
    **{name: setting.meaning for name, setting in MOE_SETTINGS.items()},
    "depth": "number of blocks L",
    "width": "size D of a token",
    "heads": "attention heads; divides width",
    "ffn_dim": "hidden width of dense feed-forward layers",
    "expert_dim": "hidden width of each expert (None: that of ffn_dim)",
    "activation": "activation of feed-forward layers and experts, a name of widenet.feed_forward.ACTIVATIONS",
    "dropout": "dropout rate after embedding and attention, and inside feed-forward layers and experts",
    "attention_dropout": "dropout rate on the attention probabilities",
    "drop_path": "rate at which the last block's residual branches are dropped; from 0, linearly by block",
    "norm_epsilon": "epsilon of every layer norm",
    "kernel_initializer": "Keras initializer of every kernel, by name or config",
    "kernel_regularizer": "Keras regularizer of every kernel, by name or config (None: none)",
    "attention_groups": "instances of self-attention, which blocks share (None: one a block)",
    "ffn_groups": "instances of the feed-forward or MoE layer, which blocks share (None: one a block)",
    "norm_groups": "instances of each block's two layer norms, which blocks share (None: one a block)",
    "routing_groups": "routings; the blocks of a group share one (None: one a block)",
    "moe_blocks": "blocks with experts: 'all', the number of last ones, or a tuple of block indices",
    "norm_position": "pre (norms before attention and feed-forward layer) or post (after each residual sum)",
}

# Settings that decide about the weights and the function of a model outside training; the others are of training and capacity.
ARCHITECTURE = (
    *("depth", "width", "heads", "ffn_dim", "expert_dim", "activation", "norm_epsilon"),
    *("num_experts", "top_k", "renormalize"),
    *DEPLOYMENT_SETTINGS,
)


class EncoderSettings(MoESettings, total=False):
    """The settings in MEANINGS as keyword arguments, for editors and type checkers."""

    depth: int
    width: int
    heads: int
    ffn_dim: int
    expert_dim: int | None
    activation: Activation
    dropout: float
    attention_dropout: float
    drop_path: float
    norm_epsilon: float
    kernel_initializer: Initializer
    kernel_regularizer: Regularizer
    attention_groups: int | None
    ffn_groups: int | None
    norm_groups: int | None
    routing_groups: int | None
    moe_blocks: Literal["all"] | int | tuple[int, ...]
    norm_position: Literal["pre", "post"]


def encoder_settings(deployment, **changes):
    """All settings of an Encoder except its sizes: those of its Deployment, of its MoE layers, and its own.

    Args:
      deployment: a name of widenet.deployment.DEPLOYMENTS.
      **changes: values that take the place of the defaults, and further settings.

    Returns:
      A dict, {name: value}.
    """
    parameters = inspect.signature(Encoder.__init__).parameters.values()
    own = {p.name: p.default for p in parameters if p.default is not p.empty}
    del own["expert_dim"], own["deployment"], own["moe"]
    of_moe = {name: setting.default for name, setting in MOE_SETTINGS.items()}
    return {**dataclasses.asdict(DEPLOYMENTS[deployment]), **of_moe, **own, **changes}


def create_encoder(settings):
    """The Encoder, named "encoder", of a flat dict of settings: its sizes and what `encoder_settings` returns.

    Raises:
      ValueError: an unknown setting, or a value that is not allowed.
    """
    deployment = Deployment(**{name: settings[name] for name in DEPLOYMENT_SETTINGS if name in settings})
    others = {name: value for name, value in settings.items() if name not in DEPLOYMENT_SETTINGS}
    return Encoder(deployment=deployment, name="encoder", **others)


def settings_of_encoder(encoder):
    """The flat dict of settings that `create_encoder` makes an equal Encoder of."""
    config = encoder.get_config()
    own = {name: config[name] for name in encoder.settings() if name != "deployment"}
    return {**dataclasses.asdict(encoder.deployment), **own}
