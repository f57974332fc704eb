"""--help beside --config: every setting of the recipe, its value and what it means."""

import pathlib
import runpy
import sys
from unittest import mock

import pytest
from absl import app
from absl.testing import flagsaver
from ml_collections import ConfigDict

from official import train
from official.cli.recipe_flag import parse_flags
from official.cli.recipe_help import settings_text

ROOT = pathlib.Path(__file__).parents[3]
RECIPES = sorted(path for folder in ("vision", "bert") for path in (ROOT / folder / "configs").glob("*.py"))


def test_one_line_each():
    """Sections apart, in the order of the meanings, values as literals; by hand."""
    config = ConfigDict(dict(name="a", train=dict(lr=0.1, best=""), model=dict(kernel_initializer=dict(name="of_a_long_name"))))
    long = "words that are many " * 6 + "('': last)"
    meanings = dict(train=dict(lr="peak", best=long), model=dict(kernel_initializer="of kernels"))
    assert settings_text(config, meanings).splitlines() == [
        "  name='a'                        name of the model in reports and exports",
        "",
        "  train.lr=0.1                    peak",
        f"  train.best=''                   {long}",
        "",
        "  model.kernel_initializer={'name': 'of_a_long_name'}  of kernels",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_setting_of_every_recipe_has_a_meaning(path):
    config = runpy.run_path(str(path))["get_config"]()
    meanings = train.setting_meanings(config)
    for section in ("model", "data", "train"):
        assert set(config[section]) <= set(meanings[section])
        for name in config[section]:
            assert 5 < len(meanings[section][name]) <= 100, name
    lines = [line for line in settings_text(config, meanings).splitlines() if line]
    assert len(lines) == sum(len(config[key]) if isinstance(config[key], ConfigDict) else 1 for key in config)


def test_help_of_a_recipe(monkeypatch, capsys):
    """With the values that the command line gives; nothing is trained."""
    monkeypatch.chdir(ROOT)
    argv = [
        "official.train",
        "--config=vision/configs/digits.py:vit_ti16",
        "--config.train.lr=0.25",
        "--data_dir=there",
        "--help",
    ]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv), pytest.raises(SystemExit) as ended:
        parse_flags(argv, train.setting_meanings)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "Settings of vision/configs/digits.py:vit_ti16, each to be changed by --config.SETTING=VALUE:" in said
    assert "  train.lr=0.25                   peak learning rate\n" in said
    assert "  data.dir='there'" in said
    assert "  model.top_k=2" in said


@pytest.mark.parametrize(
    "flag, part",
    [
        ("--help", "--help prints the settings of that recipe"),  # the flags are those of the process's own command, pytest
        ("-h", "--help prints the settings of that recipe"),
        ("--helpfull", "--config: The recipe: a Python file with get_config()."),
    ],
)
def test_help_without_a_recipe(capsys, flag, part):
    """On standard output and with the exit code of success, which absl's own help does not have."""
    app.define_help_flags()
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        parse_flags(["official.train", flag], train.setting_meanings)
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert part in said.out
    assert said.err == ""
