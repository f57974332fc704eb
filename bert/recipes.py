"""What recipes in bert/configs share."""

from ml_collections import ConfigDict

import bert
from bert.masked_lm import settings as pretraining_settings
from bert.squad import settings as squad_settings
from bert.texts.glue import GLUE
from bert.texts.settings import data_settings
from official.config import literal_settings, train_settings

# Fine-tuning on GLUE: for MNLI and SST-2 the paper's table. Of the others it has nothing; these are ALBERT's (arXiv:1909.11942,
# its appendix), which for MNLI are the paper's, and for SST-2 too but for the batches, a quarter as large, and the learning rate.
FINE_TUNING = {
    "cola": dict(lr=1e-5, batch_size=16, steps=5336, warmup_steps=320),
    "sst2": dict(lr=4e-5, batch_size=128, steps=5234, warmup_steps=314),
    "mrpc": dict(lr=2e-5, batch_size=32, steps=800, warmup_steps=200),
    "qqp": dict(lr=5e-5, batch_size=128, steps=14_000, warmup_steps=1000, dropout=0.1),
    "stsb": dict(lr=2e-5, batch_size=16, steps=3598, warmup_steps=214),
    "mnli": dict(lr=3e-5, batch_size=128, steps=10_000, warmup_steps=1000),
    "qnli": dict(lr=1e-5, batch_size=32, steps=33_112, warmup_steps=1986),
    "rte": dict(lr=3e-5, batch_size=32, steps=800, warmup_steps=200, dropout=0.1),
    "wnli": dict(lr=2e-5, batch_size=16, steps=2000, warmup_steps=250, dropout=0.1),
}


def text_recipe(model, task, overrides, data, train):
    """The config of a recipe for a task on text.

    Args:
      model: a name of bert.list_models().
      task: "module:Class" of an official.task.Task.
      overrides: of the model's settings; vocab_size=None is as large as the vocabulary of the data.
      data: all of the task's settings; `name` is what the data are called.
      train: of official.config.train_settings, in place of those that fine-tuning has by default: AdamW, decay 0.01, and linear
        decay of the learning rate.

    Raises:
      ValueError: a model or a setting that there is not.
    """
    return ConfigDict(
        dict(
            name=f"{model}_{data['name']}".replace("/", "_"),
            init="",
            task=task,
            model=literal_settings(bert.model_settings(model, **{"vocab_size": None, **overrides})),
            data=data,
            train=train_settings(**{"optimizer": "adamw", "weight_decay": 0.01, "schedule": "linear", **train}),
        )
    )


def classification_recipe(model, overrides, data, train):
    """The config of a recipe for classification or regression of texts.

    Args:
      model, overrides, train: as of `text_recipe`; classes=None is as many as the data have.
      data: of bert.texts.settings.data_settings.

    Raises:
      ValueError: a model or a setting that there is not.
    """
    overrides = {"classes": None, **overrides}
    return text_recipe(model, "bert.classification:TextClassification", overrides, data_settings(**data), train)


def glue_recipe(task, model):
    """Fine-tuning on a task of GLUE of a model that was pretrained.

    Args:
      task: a key of FINE_TUNING.
      model: a name of bert.list_models().

    Raises:
      ValueError: a task or a model that there is not.
    """
    if task not in FINE_TUNING:
        raise ValueError(f"task {task!r} is not allowed: it must be one of {', '.join(FINE_TUNING)}")
    settings = dict(FINE_TUNING[task])
    dropout = settings.pop("dropout", 0.0)
    return classification_recipe(
        model,
        dict(classes=GLUE[task].classes, dropout=dropout, attention_dropout=dropout),
        data=dict(name=f"glue/{task}", max_length=512),
        train=dict(**settings, eval_every=settings["steps"] // 10, best=GLUE[task].metrics[0]),
    )


def pretraining_recipe(model, overrides, data, train):
    """The config of a recipe for pretraining.

    Args:
      model, overrides: as of `text_recipe`.
      data: of bert.masked_lm.settings.data_settings.
      train: of official.config.train_settings, in place of those that pretraining has by default: LAMB, decay 0.01, and linear
        decay of the learning rate.

    Raises:
      ValueError: a model or a setting that there is not.
    """
    data = pretraining_settings.data_settings(**data)
    return text_recipe(model, "bert.pretraining:Pretraining", overrides, data, {"optimizer": "lamb", **train})


def paper_pretraining(model):
    """The paper's pretraining, which is ALBERT's, of any model.

    Args:
      model: a name of bert.list_models().
    """
    return pretraining_recipe(
        model,
        dict(dropout=0.1, attention_dropout=0.1),
        data=dict(max_length=512, shuffle_buffer=100_000, validation_examples=16_384),
        train=dict(
            steps=125_000,
            batch_size=4096,
            lr=0.00176,
            warmup_steps=3125,
            precision="mixed_bfloat16",
            eval_every=2500,
            checkpoint_every=500,
        ),
    )


def squad_recipe(model, overrides, data, train):
    """The config of a recipe for extractive question answering.

    Args:
      model, overrides, train: as of `text_recipe`.
      data: of bert.squad.settings.data_settings.

    Raises:
      ValueError: a model or a setting that there is not.
    """
    data = squad_settings.data_settings(**data)
    return text_recipe(model, "bert.question_answering:QuestionAnswering", overrides, data, train)
