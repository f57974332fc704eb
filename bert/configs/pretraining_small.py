"""Pretraining of a tiny or small model on the embedded corpora, for two CPU cores.

Command: python -m official.train --config=bert/configs/pretraining_small.py --workdir=runs/pretraining --config.data.dir=DIR \
    --config.data.word_vectors=vectors.npz
Models: widenet_tiny_e4 unless another of the zoo is named, as in --config=bert/configs/pretraining_small.py:albert_small
Data: python -m bert.prepare --corpus=wikipedia_sample --corpus=imdb --vocabulary=vocab.txt --max_length=64 --output=DIR
    (pip install -r requirements-text.txt; --runner=local where Beam is not installed), and word vectors to begin with:
    python -m bert.word_vectors --data=DIR --output=vectors.npz. `make demo-text` does all that.
Cost and accuracy: 392 seconds on two CPU cores; of the masked words of held-out documents 13.3 % (4.5 % by always naming the most
    frequent token) at 6.04 nats each (6.75 by frequency alone). The order of segments takes longer to learn: 50.3 %.
"""

from bert.recipes import pretraining_recipe


def get_config(model="widenet_tiny_e4"):
    """The recipe; `model` is a name of bert.list_models()."""
    steps = 2500
    return pretraining_recipe(
        model,
        dict(max_length=128, dropout=0.0, attention_dropout=0.0),
        data=dict(max_length=64, max_ngram=1, frequency_bias=True, validation_examples=512),
        train=dict(
            steps=steps,
            warmup_steps=steps // 10,
            batch_size=16,
            optimizer="adamw",
            lr=1e-3,
            precision="auto",
            eval_every=steps // 8,
            checkpoint_every=steps // 8,
        ),
    )
