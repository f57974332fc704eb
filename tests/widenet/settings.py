"""Settings that tests of layers and of both zoos share."""

from widenet.routing import MOE_SETTINGS


def other_moe_settings():
    """{name: a value other than the default} of every setting of an MoE layer, all of them allowed together."""

    def other(default):
        if isinstance(default, bool):
            return not default
        if isinstance(default, int):
            return default - 1
        return 1.5 if default is None else default + 0.25

    return {name: other(setting.default) for name, setting in MOE_SETTINGS.items()}
