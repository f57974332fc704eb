"""Recipes for question answering are what the paper's table says."""

import pathlib
import re
import runpy

import pytest

import bert
from bert.squad.settings import check_data_settings
from official.cli.recipe_flag import problem_with
from official.config import check_train_settings

CONFIGS = pathlib.Path(__file__).parents[2] / "bert" / "configs"


def recipe(name, *argument):
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](*argument)


@pytest.mark.parametrize("name, argument", [("squad", "1.1"), ("squad", "2.0"), ("squad_tiny", "albert_tiny")])
def test_every_recipe_is_allowed_and_says_what_it_is(name, argument):
    module = runpy.run_path(str(CONFIGS / f"{name}.py"))
    config = module["get_config"](argument)
    check_train_settings(config.train)
    check_data_settings(config.data)
    assert f"--config=bert/configs/{name}.py" in module["__doc__"]
    assert re.search("Cost", module["__doc__"])
    assert (config.init, config.task) == ("", "bert.question_answering:QuestionAnswering")
    assert config.train.warmup_steps < config.train.steps
    assert config.data.max_length <= config.model.max_length
    # As FACTS has fine-tuning: AdamW, decay 0.01, linear decay, norm clipped to 1; a size that the vocabulary says.
    train = config.train
    assert (train.optimizer, train.weight_decay, train.schedule, train.clip_norm) == ("adamw", 0.01, "linear", 1.0)
    assert config.model.vocab_size is None


# The paper's appendix: steps, warm-up and learning rate; capacity ratio, lambda and dropout; tokens.
PAPER = {
    "1.1": ((3649, 365, 5e-5), (2.0, 0.0, 0.1), 384),
    "2.0": ((8144, 814, 3e-5), (1.2, 0.01, 0.0), 512),
}


@pytest.mark.parametrize("version", PAPER)
@pytest.mark.parametrize("model", ["albert_base", "bert_base", "widenet_base_e4", "widenet_base_e8", "widenet_base_e16"])
def test_paper(version, model):
    """In batches of 48; nothing else differs from the zoo's model. Two or three epochs of the published questions."""
    config = recipe("squad", f"{version},{model}")
    train, (of_train, (capacity, weight, dropout), tokens) = config.train, PAPER[version]
    assert (train.steps, train.warmup_steps, train.lr) == of_train
    assert train.batch_size == 48
    assert (config.data.max_length, config.data.name) == (tokens, f"squad/v{version}")
    assert config.data.no_answer == (version == "2.0")
    questions, epochs = {"1.1": (87_599, 2), "2.0": (130_319, 3)}[version]
    assert train.steps * 48 / questions == pytest.approx(epochs, abs=0.01)
    expected = bert.model_settings(
        model,
        vocab_size=None,
        capacity_factor=capacity,
        balance_weight=weight,
        dropout=dropout,
        attention_dropout=dropout,
    )
    assert config.model.to_dict() == expected


def test_default_model():
    for name, argument, model in (("squad", "1.1", "widenet_base_e4"), ("squad_tiny", "widenet_tiny_e4", "widenet_tiny_e4")):
        assert recipe(name, argument).name.startswith(model)


@pytest.mark.parametrize(
    "name, argument, said",
    [
        ("squad", "3.0", "version '3.0' is not allowed: it must be one of 1.1, 2.0"),
        ("squad", "2.0,widenet_base", "name='widenet_base' is not a model"),
        ("squad_tiny", "2.0", "name='2.0' is not a model"),
    ],
)
def test_arguments_that_there_are_not(name, argument, said):
    """One sentence from the command line."""
    assert said in problem_with([f"--config={CONFIGS / name}.py:{argument}"])
