"""What every zoo of models around an Encoder shares: the settings of the encoder as one flat dict, and the encoder made of it."""

import dataclasses
import inspect

from widenet.deployment import DEPLOYMENTS, Deployment
from widenet.encoder import Encoder
from widenet.routing import MOE_SETTINGS

DEPLOYMENT_SETTINGS = tuple(field.name for field in dataclasses.fields(Deployment))


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
