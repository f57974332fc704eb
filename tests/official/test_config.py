"""What the command line and a recipe may say, and how a run's config lives on disk."""

import json
import pathlib
import re
import sys
from unittest import mock

import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict, config_flags

from official import config as configs
from official import train
from official.cli.recipe_flag import given_recipe, parse_flags, problem_with
from official.config import TRAIN, check_train_settings, defaults_of, literal_settings, train_settings

RECIPE = "vision/configs/digits.py"


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Recipes are named from there."""
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])


def parse(*arguments):
    """The config that a command line gives, with flags of its own so that no test touches the process's."""
    values = flags.FlagValues()
    command = ["train", f"--config={RECIPE}", *arguments]
    with mock.patch.object(sys, "argv", command):  # ml_collections looks there for settings to change
        holder = config_flags.DEFINE_config_file("config", None, lock_config=True, flag_values=values)
        values(command)
        return holder.value


def test_unknown_train_setting():
    """A recipe's typo is refused by name."""
    with pytest.raises(ValueError, match=r"^stepps=3 is not a setting of train \(did you mean steps\?\); known: ") as error:
        train_settings(lr=1, stepps=3)
    assert "warmup_steps" in str(error.value)


@pytest.mark.parametrize("table, settings", [(TRAIN, train_settings)])
def test_every_setting_has_a_meaning(table, settings):
    """One line each, which a list of settings can print; and the table is what recipes get."""
    assert dict(settings()) == defaults_of(table)
    for name, setting in table.items():
        assert 5 < len(setting.meaning) <= 100, name
        assert "\n" not in setting.meaning, name


def test_section_of_any_name():
    """What text and images share: settings with defaults, and refusals by section, setting, value and what is allowed."""
    defaults = dict(dir="", size=3)
    assert configs.section_settings("data", defaults, dict(size=4)) == dict(dir="", size=4)
    assert defaults["size"] == 3
    with pytest.raises(ValueError, match=r"^sise=1 is not a setting of data \(did you mean size\?\); known: dir, size$"):
        configs.section_settings("data", defaults, dict(sise=1, diir=""))
    configs.check_section("data", defaults, {"size": (True, "above 0")})
    with pytest.raises(ValueError, match=r"^data\.size=3 is not allowed: it must be above 3$"):
        configs.check_section("data", ConfigDict(defaults), {"dir": (True, "a folder"), "size": (False, "above 3")})


def test_profiled_steps():
    """The last step is checked as soon as the number of steps is known."""
    assert configs.profiled_steps(train_settings()) is None
    train = train_settings(profile_steps="100,110")
    check_train_settings(train)
    assert configs.profiled_steps(train) == (100, 110)
    in_epochs = train_settings(profile_steps="100,110", epochs=1.0, batch_size=10)
    check_train_settings(in_epochs)
    with pytest.raises(ValueError, match=r"train\.profile_steps='100,110' is not allowed: .* <= train\.steps=109"):
        check_train_settings(configs.in_steps(in_epochs, 1090))


def test_defaults_are_allowed():
    """What a recipe does not set must pass its own check."""
    check_train_settings(train_settings())


def test_settings_of_the_model_that_came_later():
    """A run from before such a setting may go on; one that had it may not under another value."""
    before = {"model": {"depth": 2}, "data": {}}
    assert configs.came_later("model.noise", before)
    assert not configs.came_later("model.depth", before)
    assert not configs.came_later("data.noise", before)


@pytest.mark.parametrize(
    "setting, value, allowed",
    [
        ("steps", 0, "at least 1, unless train.epochs is given"),
        ("epochs", -1.0, "0 beside train.steps=1000"),
        ("warmup_epochs", -1.0, "at least 0, and finite"),
        ("warmup_epochs", float("inf"), "at least 0, and finite"),
        ("batch_size", 0, "at least 1"),
        ("lr", -0.1, "at least 0"),
        ("lr", float("nan"), "at least 0"),
        ("warmup_steps", -1, "at least 0"),
        ("schedule", "constant", "one of cosine, linear"),
        ("optimizer", "adam", "one of lamb, adamw, sgd"),
        ("beta_1", 1.0, "from 0 up to, not including, 1"),
        ("beta_2", -0.1, "from 0 up to, not including, 1"),
        ("epsilon", 0.0, "above 0"),
        ("weight_decay", -1.0, "at least 0"),
        ("clip_norm", 0.0, "above 0"),
        ("momentum", 1.0, "from 0 up to, not including, 1"),
        ("layer_decay", 0.0, "above 0 and at most 1"),
        ("layer_decay", 1.01, "above 0 and at most 1"),
        ("ema_decay", 1.0, "from 0 up to, not including, 1"),
        ("ema_decay", -0.1, "from 0 up to, not including, 1"),
        ("frozen", (1, "head"), "a tuple of names of the model's layers"),
        ("eval_every", 0, "at least 1"),
        ("checkpoint_every", -1, "at least 0"),
        ("keep_checkpoints", 0, "at least 1"),
        ("steps_per_execution", 0, "at least 1"),
        ("accumulate", 0, "at least 1"),
        ("precision", "float16", "float32, mixed_bfloat16, float64, auto"),
        ("profile_steps", "100", "'' or 'FIRST,LAST' with 1 <= FIRST <= LAST <= train.steps=1000"),
        ("profile_steps", "0,3", "1 <= FIRST"),
        ("profile_steps", "7,3", "FIRST <= LAST"),
        ("profile_steps", "990,1001", "LAST <= train.steps=1000"),
        ("profile_steps", "-1,3", "1 <= FIRST"),
        ("data_service", "localhost:5050", "'' or 'grpc://HOST:PORT' of each server, with commas between them"),
        ("data_service", "grpc://a:1,", "with commas"),
        ("data_service", "grpc://a:70000", "with commas"),
    ],
)
def test_refused_values(setting, value, allowed):
    """Setting, value and what is allowed, and nothing else."""
    with pytest.raises(ValueError) as error:
        check_train_settings(train_settings(**{"steps": 1000, setting: value}))
    assert str(error.value) == f"train.{setting}={value!r} is not allowed: it must be {error.value.args[0].split('must be ')[1]}"
    assert allowed in str(error.value).partition("must be ")[2]


@pytest.mark.parametrize(
    "given, expected",
    [
        ("(0,1)", (0, 1)),
        ("2", 2),
        ("all", "all"),
        ("'all'", "all"),
        ("0", 0),
    ],
)
def test_moe_blocks_on_the_command_line(given, expected):
    """A setting that is now a number, now a word, now a tuple may change its type."""
    value = parse(f"--config.model.moe_blocks={given}").model.moe_blocks
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "setting, given, expected",
    [
        ("capacity_factor", "None", None),
        ("capacity_factor", "2", 2),
        ("eval_capacity_factor", "1.5", 1.5),
        ("norm_groups", "1", 1),
        ("attention_groups", "None", None),
        ("activation", "relu", "relu"),
        ("representation", "True", True),
        ("dropout", "0.5", 0.5),
    ],
)
def test_literals_on_the_command_line(setting, given, expected):
    """None, numbers, words and truth values arrive as such."""
    value = parse(f"--config.model.{setting}={given}").model[setting]
    assert value == expected
    assert type(value) is type(expected)


def test_literal_settings_keep_their_values():
    """Before anything is replaced they are what was given, and a plain dict again in JSON."""
    settings = dict(a=1, b=None, c="all", d=(0, 1))
    literal = literal_settings(settings)
    assert {key: literal[key] for key in literal} == settings
    assert configs.to_plain(literal) == dict(a=1, b=None, c="all", d=[0, 1])


def test_typed_settings_on_the_command_line():
    """train settings keep their types: an int stays one, and a word for a number is refused."""
    config = parse("--config.train.lr=1", "--config.train.steps=7", "--config.train.jit_compile=true")
    assert config.train.lr == 1.0
    assert isinstance(config.train.lr, float)
    assert config.train.steps == 7
    assert config.train.jit_compile is True
    for wrong in ("--config.train.steps=1.5", "--config.train.lr=fast"):
        with pytest.raises(flags.IllegalFlagValueError, match=re.escape(wrong.split("=")[0].lstrip("-"))):
            parse(wrong)


@pytest.mark.parametrize(
    "given, expected",
    [("('embedding','encoder')", ("embedding", "encoder")), ("encoder", ("encoder",)), ("('head',)", ("head",)), ("()", ())],
)
def test_frozen_on_the_command_line(given, expected):
    """A tuple of names, or one name alone."""
    assert parse(f"--config.train.frozen={given}").train.frozen == expected


def test_config_is_locked():
    """Code that sets a key which the recipe does not have is wrong; it must not pass in silence."""
    config = parse()
    with pytest.raises((AttributeError, KeyError)):
        config.train.stepps = 3


@pytest.mark.parametrize(
    "arguments, key, near",
    [
        (["--config.train.step=3"], "train.step", "train.steps"),
        (["--config.train.lrr=3"], "train.lrr", "train.lr"),
        (["--config.model.moe_block=3"], "model.moe_block", "model.moe_blocks"),
        (["--config.trian.lr=3"], "trian.lr", "train.lr"),
        (["--config.train.lr=0.1", "--config.data.rotat=3"], "data.rotat", "data.rotate"),
        (["--config.train.step", "3"], "train.step", "train.steps"),
        (["-config.train.step=3"], "train.step", "train.steps"),
    ],
)
def test_unknown_key_is_explained(arguments, key, near):
    """One line: the key, the recipe, the nearest key and those beside it."""
    sentence = problem_with(["train", f"--config={RECIPE}", *arguments])
    assert sentence.startswith(f"--config.{key} is not a setting of {RECIPE}")
    assert f"(did you mean {near}?)" in sentence
    assert "\n" not in sentence


def test_unknown_key_of_a_recipe_with_an_argument():
    """The recipe is made with its argument, since its settings may depend on it."""
    sentence = problem_with([f"--config={RECIPE}:vit_ti16", "--config.train.step=3"])
    assert f"not a setting of {RECIPE} (" in sentence


def test_unknown_key_where_the_recipe_stands_apart():
    """absl also takes `--config FILE`, in two words."""
    sentence = problem_with(["train", "--config", RECIPE, "--config.train.step=3"])
    assert sentence is not None
    assert "(did you mean train.steps?)" in sentence


def test_known_keys_need_no_explanation():
    assert problem_with(["train", f"--config={RECIPE}", "--config.train.steps=3"]) is None
    assert problem_with(["train", "--workdir=x"]) is None


def test_steps_of_epochs():
    """By hand: parts of a step count as one, and the settings stay as they were."""
    train = train_settings(epochs=3, warmup_epochs=0.5, batch_size=16)
    check_train_settings(train)
    assert (train.steps, train.epochs) == (0, 3.0)
    in_steps = configs.in_steps(train, 100)
    assert (in_steps.steps, in_steps.warmup_steps, in_steps.epochs, in_steps.warmup_epochs) == (19, 4, 0, 0)  # of 18.75 and 3.125
    assert train.epochs == 3
    assert configs.in_steps(train_settings(epochs=0.3, batch_size=1), 10).steps == 3  # not 4, by the error of 0.3 * 10
    assert configs.in_steps(train_settings(steps=7), None) == train_settings(steps=7)
    with pytest.raises(
        ValueError, match=r"^train\.epochs=3\.0 is not allowed: it must be 0, with train\.steps, since the task does"
    ):
        configs.in_steps(train, None)


@pytest.mark.parametrize(
    "given, expected",
    [
        (["epochs=2"], (0, 2.0, 115, 0.0)),
        (["steps=9", "warmup_epochs=0.5"], (9, 0.0, 0, 0.5)),
        (["epochs=2", "steps=9"], (9, 2.0, 115, 0.0)),  # which is refused
        (["epochs=0"], (1610, 0.0, 115, 0.0)),
    ],
)
def test_epochs_take_the_place_of_the_recipe_s_steps(given, expected):
    argv = ["train", f"--config={RECIPE}", *(f"--config.train.{setting}" for setting in given)]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
        parse_flags(argv)
        train_of = given_recipe().train
    assert (train_of.steps, train_of.epochs, train_of.warmup_steps, train_of.warmup_epochs) == expected


def test_model_and_data_dir(monkeypatch, tmp_path):
    """The driver's short flags are two settings of the recipe, which win over the recipe's own."""
    started = []
    monkeypatch.setattr(train, "Run", lambda config, workdir: started.append(config) or mock.Mock())
    argv = ["train", f"--config={RECIPE}", "--config.init=other", f"--workdir={tmp_path}", "--model=runs/a", "--data_dir=there"]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
        train.main(parse_flags(argv))
    (config,) = started
    assert (config.init, config.data.dir) == ("runs/a", "there")


def test_changes():
    """Only what differs, by dotted key, also where a key is new or gone."""
    before = dict(a=1, b=dict(c=2, d=3), e=dict(f=1))
    after = dict(a=1, b=dict(c=5, d=3), g=0, e=None)
    assert configs.changes(before, after) == {"b.c": (2, 5), "e": (dict(f=1), None), "g": (None, 0)}
    assert configs.changes(before, before) == {}


def test_completed():
    """A run from before a setting was there has what held then; what it has itself stays, and it is not changed."""
    plain = dict(name="a", train=dict(lr=0.1, schedule="linear"))
    later = dict(best="", epochs=0.0, warmup_epochs=0.0, restart=False, accumulate=1, recompute=False, log_norms=False)
    later |= dict(profile_steps="", background_checkpoints=False, data_service="")
    assert configs.completed(plain) == dict(name="a", init="", train=dict(lr=0.1, schedule="linear", **later))
    old = dict(init="b", train=dict(lr=0.1))
    assert configs.completed(old) == dict(init="b", train=dict(lr=0.1, schedule="cosine", **later))
    assert old == dict(init="b", train=dict(lr=0.1))


@pytest.mark.parametrize(
    "key, fixed",
    [
        ("model.depth", True),
        ("task", True),
        ("init", True),
        ("data.rotate", True),
        ("data.dir", False),
        ("data.bad_examples", False),
        ("data.name", True),
        ("train.seed", True),
        ("train.batch_size", True),
        ("train.optimizer", True),
        ("train.momentum", True),
        ("train.layer_decay", True),
        ("train.ema_decay", True),
        ("train.frozen", True),
        ("distillation.blocks", True),
        ("train.steps", False),
        ("train.lr", False),
        ("train.schedule", False),
        ("train.best", False),
        ("train.strategy", False),
        ("name", False),
        ("modelling", False),
    ],
)
def test_is_fixed(key, fixed):
    """What makes a run another run, and what may change when it goes on."""
    assert configs.is_fixed(key) == fixed


def test_to_plain_is_json():
    """The config on disk equals the config in memory once both are plain: tuples are lists in both."""
    config = ConfigDict(dict(train=train_settings(), model=literal_settings(dict(moe_blocks=(0, 1)))))
    plain = configs.to_plain(config)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["model"]["moe_blocks"] == [0, 1]
