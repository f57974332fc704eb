"""Recipes of the command line: the size of the model that a run starts from, and the run's name."""

import json
import pathlib
import sys
from unittest import mock

import pytest
from absl.testing import flagsaver

from bert.recipes import pretraining_recipe
from official.cli.recipe_flag import given_recipe, parse_flags
from official.config import data_name

ROOT = pathlib.Path(__file__).parents[3]


def given(*arguments, **options):
    """The recipe of a command line."""
    argv = ["official.train", *arguments]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
        parse_flags(argv)
        return given_recipe(**options)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run, as far as recipes read it."""
    monkeypatch.chdir(ROOT)
    folder = tmp_path / "pretrained"
    folder.mkdir()
    (folder / "config.json").write_text(pretraining_recipe("bert_small", dict(depth=5, max_length=96), {}, {}).to_json())
    return folder


def test_size_of_init(run, tmp_path):
    """That of the model which the run starts from, unless the command line names a model or a setting; --model says init, too."""
    recipe = "--config=bert/configs/glue.py:sst2"
    for config in (given(recipe, f"--config.init={run}", "--config.train.lr=0.5"), given(recipe, init=str(run))):
        assert (config.init, config.name) == (str(run), "bert_small_glue_sst2")
        assert (config.model.depth, config.model.width, config.model.max_length, config.data.max_length) == (5, 256, 96, 96)
    assert given(recipe, f"--config.init={run}", "--config.train.lr=0.5").train.lr == 0.5
    changed = given(recipe, f"--config.init={run}", "--config.model.depth=3", "--config.data.max_length=32", "--config.name=mine")
    assert (changed.model.depth, changed.model.width, changed.data.max_length, changed.name) == (3, 256, 32, "mine")
    named = given(f"{recipe},albert_tiny", f"--config.init={run}")
    assert (named.init, named.model.width, named.name) == (str(run), 128, "albert_tiny_glue_sst2")
    assert given(recipe).model.width == 768
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(json.loads(changed.to_json())))
    (run / "config.json").unlink()
    resumed = given(recipe, f"--config.init={run}", workdir=workdir)
    assert resumed.model.to_dict() == changed.model.to_dict()
    assert (resumed.init, resumed.name) == (str(run), "mine")


@pytest.mark.parametrize(
    "arguments, name",
    [
        (["vision/configs/digits.py"], "widenet_ti16_digits"),
        (["vision/configs/digits.py", "--config.data.name=mnist"], "widenet_ti16_mnist"),
        (["vision/configs/folder.py", "--data_dir=/data/My photos/"], "widenet_ti16_My_photos"),
        (["vision/configs/digits.py:vit_ti16", "--config.data.name=folder", "--config.data.dir=/data/cats"], "vit_ti16_cats"),
        (["bert/configs/text_file.py", "--config.data.train_file=/data/reviews/train.tsv"], "widenet_tiny_e4_reviews"),
        (["bert/configs/squad_tiny.py", "--config.data.name=file", "--config.data.train_file=faq.json"], "widenet_tiny_e4_faq"),
        (["bert/configs/text_file.py", "--config.name=a", "--config.data.train_file=b.csv"], "a"),
    ],
)
def test_a_run_is_called_by_its_data(monkeypatch, arguments, name):
    monkeypatch.chdir(ROOT)
    assert given(f"--config={arguments[0]}", *arguments[1:]).name == name


def test_a_resumed_run_keeps_its_name(monkeypatch, tmp_path):
    """Also one that was called otherwise when it began."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "config.json").write_text(json.dumps(dict(name="widenet_ti16_folder")))
    arguments = ["--config=vision/configs/folder.py", "--data_dir=photos"]
    assert given(*arguments, workdir=tmp_path).name == "widenet_ti16_folder"
    assert given(*arguments, "--config.name=b", workdir=tmp_path).name == "b"
    (tmp_path / "config.json").write_text("[]")
    assert given(*arguments, workdir=tmp_path).name == "widenet_ti16_photos"


def test_names_of_data():
    """Characters that Keras refuses in names are replaced; where nothing is left, the data set's own name stays."""
    assert data_name(dict(name="glue/sst2", dir="/data")) == "glue_sst2"
    assert data_name(dict(name="wikipedia_sample+imdb")) == "wikipedia_sample_imdb"
    assert data_name(dict(name="folder", dir="фото")) == data_name(dict(name="folder", dir="")) == "folder"
    assert data_name(dict(name="file", dir="/data", train_file="a b.v2.csv")) == "a_b.v2"
    assert data_name(dict(vocabulary="v.txt")) == ""
