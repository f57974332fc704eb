"""Recipes for fine-tuning are what the paper's table says, and name models and settings that there are."""

import json
import pathlib
import re
import runpy

import pytest
from ml_collections import ConfigDict

import bert
from bert.masked_lm import settings as pretraining
from bert.recipes import pretraining_recipe
from bert.sentences import settings as sentences
from bert.squad import settings as squad
from bert.texts import settings as texts
from bert.texts.glue import GLUE
from bert.texts.settings import check_data_settings, data_settings
from official.cli.recipe_flag import problem_with
from official.config import check_train_settings, defaults_of

CONFIGS = pathlib.Path(__file__).parents[2] / "bert" / "configs"


def recipe(name, *argument):
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](*argument)


@pytest.mark.parametrize("section", [pretraining, sentences, squad, texts], ids=lambda section: section.__name__)
def test_every_setting_has_a_meaning(section):
    """One line each, which a list of settings can print; and the table is what recipes get."""
    assert dict(ConfigDict(section.data_settings())) == defaults_of(section.DATA)
    for name, setting in section.DATA.items():
        assert 5 < len(setting.meaning) <= 100, name
        assert "\n" not in setting.meaning, name


@pytest.mark.parametrize("name", ["glue", "rotten_tomatoes", "text_file"])
def test_every_recipe_is_allowed_and_says_what_it_is(name):
    module = runpy.run_path(str(CONFIGS / f"{name}.py"))
    config = module["get_config"]()
    check_train_settings(config.train)
    check_data_settings(config.data)
    assert f"--config=bert/configs/{name}.py" in module["__doc__"]
    assert re.search(r"cost|Cost", module["__doc__"])
    assert re.search(r"accuracy|Accuracy", module["__doc__"])
    assert (config.init, config.task) == ("", "bert.classification:TextClassification")
    assert config.train.warmup_steps < config.train.steps
    assert config.data.max_length <= config.model.max_length
    # As FACTS has fine-tuning: AdamW, decay 0.01, linear decay, norm clipped to 1; a size that the vocabulary says.
    train = config.train
    assert (train.optimizer, train.weight_decay, train.schedule, train.clip_norm) == ("adamw", 0.01, "linear", 1.0)
    assert config.model.vocab_size is None


# The paper's appendix: steps, warm-up, batch size, learning rate.
PAPER = {"mnli": (10_000, 1000, 128, 3e-5), "sst2": (5234, 314, 128, 4e-5)}


@pytest.mark.parametrize("task", PAPER)
@pytest.mark.parametrize("model", ["albert_base", "bert_base", "widenet_base_e4", "widenet_base_e8", "widenet_base_e16"])
def test_paper(task, model):
    """And capacity 1.2, lambda 0.01, no dropout, 512 tokens; nothing else differs from the zoo's model."""
    config = recipe("glue", f"{task},{model}")
    train = config.train
    assert (train.steps, train.warmup_steps, train.batch_size, train.lr) == PAPER[task]
    assert config.data.max_length == 512
    expected = bert.model_settings(
        model,
        classes=GLUE[task].classes,
        vocab_size=None,
        capacity_factor=1.2,
        balance_weight=0.01,
        dropout=0.0,
        attention_dropout=0.0,
    )
    assert config.model.to_dict() == expected
    assert config.data.name == f"glue/{task}"


def test_every_task_of_glue():
    """With the checkpoint chosen by GLUE's own metric, and any model of the zoo."""
    chosen = {task: recipe("glue", task).train.best for task in GLUE}
    assert chosen == {
        "cola": "matthews", "sst2": "accuracy", "mrpc": "f1", "qqp": "f1", "stsb": "pearson",
        "mnli": "accuracy", "qnli": "accuracy", "rte": "accuracy", "wnli": "accuracy",
    }  # fmt: skip
    for task in GLUE:
        check_train_settings(recipe("glue", task).train)
    for model in bert.list_models():
        for name, argument in (("glue", f"rte,{model}"), ("rotten_tomatoes", model), ("text_file", model)):
            config = recipe(name, argument)
            assert config.name.startswith(model)
            assert set(config.model) == set(bert.model_settings(model))


@pytest.mark.parametrize(
    "name, argument, said",
    [
        ("glue", "sst3", "task 'sst3' is not allowed: it must be one of cola, sst2, "),
        ("glue", "sst2,bert_large", "name='bert_large' is not a model"),
        ("text_file", "tiny", "name='tiny' is not a model"),
    ],
)
def test_arguments_that_there_are_not(name, argument, said):
    """One sentence from the command line."""
    assert said in problem_with([f"--config={CONFIGS / name}.py:{argument}"])


def pretraining_run(folder, model="albert_small", **settings):
    """The folder of a run, as far as recipes read it."""
    overrides = dict(depth=5, width=48, heads=3, embedding_dim=16, max_length=96, vocab_size=77, dropout=0.3)
    config = pretraining_recipe(model, {**overrides, **settings}, {}, {})
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json())
    return folder


RECIPES = [("glue", "rte,"), ("rotten_tomatoes", ""), ("text_file", ""), ("squad", "1.1,"), ("squad_tiny", ""), ("embedding", "")]


@pytest.mark.parametrize("name, argument", RECIPES)
def test_size_is_that_of_init(tmp_path, name, argument):
    """Architecture and positions; what concerns training, classes and vocabulary are the recipe's. A named model is as before."""
    run = pretraining_run(tmp_path / "run", norm_groups=None, activation="relu")
    get_config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]
    config, plain = get_config(argument.strip(","), init=str(run)), get_config(argument.strip(","))
    changed = {key: config.model[key] for key in config.model if config.model[key] != plain.model[key]}
    of_run = dict(depth=5, width=48, heads=3, embedding_dim=16, max_length=96, norm_groups=None, activation="relu", ffn_groups=1)
    assert of_run.items() <= config.model.to_dict().items()
    for setting in ("dropout", "attention_dropout", "capacity_factor", "balance_weight", "vocab_size", "classes"):
        assert setting not in changed
    assert config.init == str(run)
    assert config.name.startswith("albert_small_")
    assert config.data.max_length == min(plain.data.max_length, 96)
    check_train_settings(config.train)
    named = get_config(f"{argument}bert_tiny", init=str(run))
    assert named.model.to_dict() == get_config(f"{argument}bert_tiny").model.to_dict()
    assert named.name.startswith("bert_tiny_")


def test_size_of_init_that_is_not_known(tmp_path):
    """The recipe keeps its own size; the error about the model comes when its weights are read."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "config.json").write_text(json.dumps(dict(name="vit", model=dict(image_size=8, width=24))))
    for init in (tmp_path / "nothing", tmp_path / "images"):
        config = runpy.run_path(str(CONFIGS / "rotten_tomatoes.py"))["get_config"](init=str(init))
        assert config.model.to_dict() == recipe("rotten_tomatoes").model.to_dict()
        assert config.name == "widenet_tiny_e4_rotten_tomatoes"


def test_settings_that_there_are_not():
    with pytest.raises(ValueError, match=r"^vocab=.* is not a setting of data.*; known: "):
        data_settings(vocab="vocab.txt")


@pytest.mark.parametrize("lower_case", [True, False])
def test_casing_is_that_of_the_model_in_init(lower_case, tmp_path):
    """As the vocabulary is; a workdir without checkpoints has the config alone."""
    before = recipe("text_file")
    before.data.lower_case = lower_case
    (tmp_path / "config.json").write_text(before.to_json())
    for name in ("glue", "rotten_tomatoes", "text_file"):
        started = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](init=str(tmp_path))
        assert started.data.lower_case is lower_case
        assert recipe(name).data.lower_case is True
