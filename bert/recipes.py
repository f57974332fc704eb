"""Builds the recipes of bert/configs."""

from ml_collections import ConfigDict

import bert
from bert.masked_lm import settings as pretraining_settings
from bert.sentences import settings as sentence_settings
from bert.squad import settings as squad_settings
from bert.texts.glue import GLUE
from bert.texts.settings import data_settings
from official.config import data_name, literal_settings, train_settings

# Fine-tuning on GLUE. MNLI and SST-2 are from the paper's table. The paper has no settings for the other tasks; these are
# ALBERT's (arXiv:1909.11942, appendix). ALBERT's MNLI is as in the paper; its SST-2 has a quarter of the batch and another lr.
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


def text_recipe(model, task, overrides, data, train, init="", default=None):
    """Makes the recipe, a ConfigDict, of a task on text.

    Args:
      model: a name of bert.list_models(); "" for a model of the size of `init`, or for `default` where that is not known.
      task: "module:Class" of an official.task.Task.
      overrides: model settings to change; vocab_size=None takes the size of the data's vocabulary.
      data: the `data` settings of the task.
      train: settings of official.config.TRAIN to change. Fine-tuning's defaults are AdamW, weight decay 0.01, and linear decay of
        the learning rate.
      init: a trained model, as a path or handle: the value of `init` on the command line.
      default: a name of bert.list_models().

    Raises:
      ValueError: an unknown model or setting.
    """
    name, size = (model, {}) if model else _size_of(init, default)
    if init:
        data = {**data, **_casing_of(init)}
    if "max_length" in size:
        data = {**data, "max_length": min(data["max_length"], size["max_length"])}
    return ConfigDict(
        dict(
            name=f"{name}_{data_name(data)}",
            init=init,
            task=task,
            model=literal_settings(bert.model_settings(model or default, **{"vocab_size": None, **overrides, **size})),
            data=data,
            train=train_settings(**{"optimizer": "adamw", "weight_decay": 0.01, "schedule": "linear", **train}),
        )
    )


def _size_of(init, default):
    """The name and size of a trained model (official.checkpoints.trained_models.initial_size), or the default's name and {}."""
    if not init:
        return default, {}
    from official.checkpoints.trained_models import initial_size  # only recipes that start from a trained model need it
    from widenet.zoo import ARCHITECTURE

    taken = (*ARCHITECTURE, "max_length", "type_vocab_size", "embedding_dim", "embedding_projection")
    name, size = initial_size(init, bert.list_models(), bert.model_settings(default), taken)
    return name or default, size


def _casing_of(init):
    """{"lower_case": that of a trained model}, since its vocabulary is used; {} where there is no model or it is not known."""
    from official.checkpoints.trained_models import initial_config  # only recipes that start from a trained model need it

    data = (initial_config(init) or {}).get("data") or {}
    return {"lower_case": data["lower_case"]} if "lower_case" in data else {}


def classification_recipe(model, overrides, data, train, **start):
    """Makes the recipe of classification or regression of texts.

    Args:
      model, overrides, train, **start: as in `text_recipe`; classes=None takes the number of classes of the data.
      data: settings of bert.texts.settings.DATA to change.

    Raises:
      ValueError: an unknown model or setting.
    """
    overrides = {"classes": None, **overrides}
    return text_recipe(model, "bert.classification:TextClassification", overrides, data_settings(**data), train, **start)


def glue_recipe(task, model, **start):
    """Makes the recipe of fine-tuning a pretrained model on a GLUE task.

    Args:
      task: a key of FINE_TUNING.
      model, **start: as in `text_recipe`.

    Raises:
      ValueError: an unknown task or model.
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
        **start,
    )


def pretraining_recipe(model, overrides, data, train):
    """Makes the recipe of pretraining.

    Args:
      model, overrides: as in `text_recipe`.
      data: settings of bert.masked_lm.settings.DATA to change.
      train: settings of official.config.TRAIN to change. Pretraining's defaults are LAMB, weight decay 0.01, and linear decay of
        the learning rate.

    Raises:
      ValueError: an unknown model or setting.
    """
    data = pretraining_settings.data_settings(**data)
    return text_recipe(model, "bert.pretraining:Pretraining", overrides, data, {"optimizer": "lamb", **train})


def paper_pretraining(model):
    """Makes the recipe of the paper's pretraining, which is ALBERT's, for any model.

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


def squad_recipe(model, overrides, data, train, **start):
    """Makes the recipe of extractive question answering.

    Args:
      model, overrides, train, **start: as in `text_recipe`.
      data: settings of bert.squad.settings.DATA to change.

    Raises:
      ValueError: an unknown model or setting.
    """
    data = squad_settings.data_settings(**data)
    return text_recipe(model, "bert.question_answering:QuestionAnswering", overrides, data, train, **start)


def embedding_recipe(model, overrides, data, train, **start):
    """Makes the recipe of sentence embeddings.

    Args:
      model, overrides, train, **start: as in `text_recipe`.
      data: settings of bert.sentences.settings.DATA to change.

    Raises:
      ValueError: an unknown model or setting.
    """
    data = sentence_settings.data_settings(**data)
    data["pairs"] = literal_settings({"pairs": data["pairs"]}).get_ref("pairs")  # which may become True or False
    return text_recipe(model, "bert.embedding:SentenceEmbedding", overrides, data, train, **start)
