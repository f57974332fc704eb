"""Pretraining of a tiny or small model on corpora inside packages, for two CPU cores.

Command: python -m official.train --config=bert/configs/pretraining_small.py --workdir=runs/pretraining --config.data.dir=DIR \
    --config.data.word_vectors=vectors.npz
Models: widenet_tiny_e4, or another one as in --config=bert/configs/pretraining_small.py:albert_small
Data: python -m bert.prepare --corpus=wikipedia_sample --corpus=imdb --vocabulary=vocab.txt --max_length=64 --output=DIR
    (pip install '.[text]'; --runner=local without Beam), and initial word vectors:
    python -m bert.word_vectors --data_dir=DIR --output=vectors.npz. `make demo-text` runs all of this.
Cost and accuracy: 392 seconds on two CPU cores; on held-out documents 13.3 % of masked words (most frequent token: 4.5 %) with a
    masked-LM loss of 6.04 nats (unigram entropy: 6.75). The order of segments takes longer to learn: 50.3 %.
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
