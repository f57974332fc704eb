"""Fine-tuning on your own TSV, CSV or JSON files with a text, optionally a second text, and a class or a score.

Command: python -m official.train --config=bert/configs/text_file.py --workdir=runs/mine --config.data.train_file=train.tsv \
    --config.data.validation_file=dev.tsv --config.init=runs/pretraining, whose size and vocabulary are used
From scratch: --config.data.vocabulary=vocab.txt instead of init. Without a validation file a tenth of the examples is held out.
Another model: --config=bert/configs/text_file.py:bert_small
Data: columns text, text_pair (for pairs), and label (a class, any text) or score (a number); other names by
    --config.data.text_column=... and so on. See docs/text.md.
Predictions for new texts: python -m official.evaluate --model=runs/mine --split=new.tsv
Cost: for three epochs set --config.train.epochs=3.
Accuracy: depends on your data.
"""

from bert.recipes import classification_recipe


def get_config(model="", init=""):
    """The recipe; `model` is a name of bert.list_models(), by default that of the size of `init`, or widenet_tiny_e4."""
    return classification_recipe(
        model,
        dict(),
        data=dict(name="file", max_length=128),
        train=dict(steps=1000, warmup_steps=100, batch_size=32, lr=5e-4, eval_every=100, best="loss"),
        init=init,
        default="widenet_tiny_e4",
    )
