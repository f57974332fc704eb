"""Question answering with a tiny model on SQuAD, or on your own files in its format, for two CPU cores.

Command: python -m official.train --config=bert/configs/squad_tiny.py --workdir=runs/squad_tiny --config.init=PRETRAINED, the
    workdir of a run of bert/configs/pretraining_small.py, whose size and vocabulary are used; or from scratch with
    --config.data.vocabulary=VOCAB_TXT
Another model: --config=bert/configs/squad_tiny.py:albert_tiny
Predictions and scores: python -m official.evaluate --model=runs/squad_tiny --split=validation
Data: python -m official.prepare squad/v2.0; or your own files:
    --config.data.name=file --config.data.train_file=TRAIN.json --config.data.validation_file=DEV.json
Cost and accuracy: not measured yet.
"""

from bert.recipes import squad_recipe


def get_config(model="", init=""):
    """The recipe; `model` is a name of bert.list_models(), by default that of the size of `init`, or widenet_tiny_e4."""
    return squad_recipe(
        model,
        dict(max_length=128, dropout=0.0, attention_dropout=0.0),
        data=dict(name="squad/v2.0", max_length=128, max_query_length=32, doc_stride=64, padding="batch"),
        train=dict(lr=5e-4, batch_size=32, steps=600, warmup_steps=60, eval_every=100),
        init=init,
        default="widenet_tiny_e4",
    )
