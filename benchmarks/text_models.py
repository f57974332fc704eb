"""Case of a text model: a training step as in `fit`, or a forward pass as in `predict`."""

# MiniLM (arXiv:2002.10957) of 6 blocks, with BERT's vocabulary of lower-case English.
MINILM = dict(depth=6, width=384, heads=12, ffn_dim=1536, embedding_dim=384, vocab_size=30522)


def classifier(mode, batch, length, dropout=0.1, **sizes):
    """A BERT of the zoo in float32, with the AdamW of the recipes and their clipping; no token is padding.

    Args:
      mode: of benchmarks.image_models.step_of.
      batch, length: texts, and tokens of each.
      dropout: rate of all dropouts.
      **sizes: settings of `bert.create_model`, such as MINILM.
    """
    import tensorflow as tf

    import bert
    from benchmarks.image_models import step_of
    from bert.models import forward_flops
    from official.config import train_settings
    from official.training.optimizers import create_optimizer

    tf.keras.utils.set_random_seed(0)
    rates = dict(dropout=dropout, attention_dropout=dropout)
    model = bert.create_model("bert_small", task="classification", **rates, **sizes)
    train = train_settings(optimizer="adamw", weight_decay=0.01, lr=1e-4, steps=10**6, warmup_steps=0)
    words = tf.random.stateless_uniform([batch, length], [0, 0], 0, sizes["vocab_size"], tf.int32)
    inputs = {"input_word_ids": words, "input_mask": tf.ones_like(words), "input_type_ids": tf.zeros_like(words)}
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, 2, tf.int32)
    step, facts = step_of(model, create_optimizer(train), mode, inputs, labels)
    passes = 3 if mode == "train" else 1  # the backward pass has two products for each of the forward pass
    return step, {**facts, "flops": passes * batch * forward_flops(model, length)}
