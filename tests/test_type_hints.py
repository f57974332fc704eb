"""Types in the signatures of public names, from which editors complete settings and type checkers find mistakes."""

import collections.abc
import inspect
import pathlib
import runpy
import types
import typing

import pytest
import tensorflow as tf
import typing_extensions

import bert
import bert.models
import official.hub
import vision
import vision.models
import widenet

ROOT = pathlib.Path(__file__).parents[1]
ZOOS = {"vision": vision, "bert": bert}


def of_zoo(package):
    """The names of a package's zoo.py, run as type checkers read it: they import what it needs for types alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typing, "TYPE_CHECKING", True)
        return runpy.run_path(str(ROOT / package / "zoo.py"))


def public():
    """{dotted name: function} of the public functions, and of the constructors and public methods of the public classes.

    Without what a widenet.Model has from Keras, whose signatures are Keras's.
    """
    found = {f"{package}.{name}": of_zoo(package)[name] for package, module in ZOOS.items() for name in module.__all__}
    found |= {"official.hub.load": official.hub.load, "official.hub.resolve": official.hub.resolve}
    for name in widenet.__all__:
        member = getattr(widenet, name)
        for method, value in vars(member).items() if inspect.isclass(member) else [("", member)]:
            value = getattr(value, "fget", None) or getattr(value, "__func__", value)
            is_ours = inspect.isfunction(value) and value.__module__.startswith("widenet.")
            is_own = name != "Model" or not hasattr(tf.keras.Model, method)
            if is_ours and ((is_own and not method.startswith("_")) or method in ("__init__", "__call__")):
                found[f"widenet.{name}.{method}".removesuffix(".")] = value
    return found


PUBLIC = public()


def test_known_names_are_among_them():
    known = {"vision.create_model", "bert.load_model", "widenet.SharedMoE.route", "widenet.Router.__init__"}
    assert known | {"widenet.Encoder.call", "widenet.Deployment.blocks", "widenet.norm_diversity"} <= PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_has_a_type(name):
    function = PUBLIC[name]
    hints = typing_extensions.get_type_hints(function)
    parameters = [parameter for parameter in inspect.signature(function).parameters if parameter not in ("self", "cls")]
    expected = set(parameters) if name.endswith("__init__") else {*parameters, "return"}
    assert set(hints) - {"return"} | ({"return"} & expected) == expected


def fits(value, hint):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is collections.abc.Callable:
        return callable(value)
    return isinstance(value, (int, float) if hint is float else origin or hint)


@pytest.mark.parametrize("package", ZOOS)
def test_settings_of_a_model_have_the_types_of_their_values(package):
    """The keys of the TypedDict are the settings, and every model's value of each is of its type."""
    hints = typing.get_type_hints(ZOOS[package].models.ModelSettings)
    for name in ZOOS[package].list_models():
        settings = ZOOS[package].model_settings(name)
        assert settings.keys() == hints.keys()
        assert [setting for setting, value in settings.items() if not fits(value, hints[setting])] == []
    for function, parameter in (("model_settings", "overrides"), ("create_model", "overrides"), ("load_model", "changes")):
        hint = typing_extensions.get_type_hints(PUBLIC[f"{package}.{function}"])[parameter]
        assert hint == typing_extensions.Unpack[ZOOS[package].models.ModelSettings]


def test_tasks_of_text_models():
    hint = typing_extensions.get_type_hints(PUBLIC["bert.create_model"])["task"]
    assert typing.get_args(hint) == bert.models.TASKS
