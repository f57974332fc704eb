"""Fine-tuning on files of your own: TSV or JSONL with a text, maybe a second text, and a class or a score. No code is needed.

Command: python -m official.train --config=bert/configs/text_file.py --workdir=runs/mine --config.data.train_file=train.tsv \
    --config.data.validation_file=dev.tsv --config.init=runs/pretraining, whose vocabulary is taken
From scratch: --config.data.vocabulary=vocab.txt in place of init. Without a validation file a tenth of the other is held out.
Another model of the zoo: --config=bert/configs/text_file.py:bert_small
Data: columns text, text_pair (where there are pairs), and label for classes or score for numbers; other names by
    --config.data.text_column=... A label is any text. docs/text.md says what is refused, and how.
Predictions for new texts: python -m official.evaluate --model=runs/mine --split=new.tsv
Cost: set --config.train.steps to about three times the number of examples over --config.train.batch_size, for three epochs.
Accuracy: that of your data.
"""

from bert.recipes import classification_recipe


def get_config(model="widenet_tiny_e4"):
    """The recipe; `model` is a name of bert.list_models()."""
    return classification_recipe(
        model,
        dict(),
        data=dict(name="file", max_length=128),
        train=dict(steps=1000, warmup_steps=100, batch_size=32, lr=5e-4, eval_every=100, best="loss"),
    )
