"""The paper's fine-tuning of a pretrained model on SQuAD 1.1 or 2.0.

Command: python -m official.train --config=bert/configs/squad.py:2.0 --workdir=runs/squad --config.init=PRETRAINED, the
    workdir or SavedModel of a pretraining run, whose size and vocabulary are used
Arguments: 1.1 or 2.0; for a model of another size or deployment than that of PRETRAINED, then a comma and a name of
    bert.list_models().
Predictions and scores: python -m official.evaluate --model=runs/squad --split=validation
Data: python -m official.prepare squad/v2.0 (or squad/v1.1), in TensorFlow Datasets' default folder or in --config.data.dir=DIR.
Cost: two epochs of 87,599 questions in windows of 384 tokens (1.1), three of 130,319 in windows of 512 (2.0), in batches of 48.
    The base models have not been run here.
Accuracy: F1 / exact match in the paper, on the development sets of 1.1 and 2.0: 89.3/82.3 and 80.0/77.1 (albert_base),
    89.9/82.8 and 80.3/77.3 (bert_base), 89.6/82.7 and 80.6/77.4 (widenet_base_e4), 90.0/82.7 and 80.6/77.7 (widenet_base_e8),
    90.9/83.8 and 81.0/77.9 (widenet_base_e16).
"""

from bert.recipes import squad_recipe

# Hyper-parameters from the paper's table.
VERSIONS = {
    "1.1": dict(
        model=dict(capacity_factor=2.0, balance_weight=0.0, dropout=0.1, attention_dropout=0.1),
        data=dict(name="squad/v1.1", no_answer=False, max_length=384),
        train=dict(lr=5e-5, steps=3649, warmup_steps=365),
    ),
    "2.0": dict(
        model=dict(capacity_factor=1.2, balance_weight=0.01, dropout=0.0, attention_dropout=0.0),
        data=dict(name="squad/v2.0", no_answer=True, max_length=512),
        train=dict(lr=3e-5, steps=8144, warmup_steps=814),
    ),
}


def get_config(argument="2.0", init=""):
    """The recipe; `argument` is "version" or "version,model". Without a model: the size of `init`, or widenet_base_e4."""
    version, _, model = argument.partition(",")
    if version not in VERSIONS:
        raise ValueError(f"version {version!r} is not allowed: it must be one of {', '.join(VERSIONS)}")
    settings = VERSIONS[version]
    train = dict(batch_size=48, eval_every=settings["train"]["steps"] // 5, **settings["train"])
    return squad_recipe(model, settings["model"], settings["data"], train, init=init, default="widenet_base_e4")
