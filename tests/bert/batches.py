"""Tiny text models and batches for them."""

import numpy as np

TINY = dict(vocab_size=50, max_length=16, embedding_dim=6, width=8, heads=2, ffn_dim=12, expert_dim=12, depth=2)
FEW_EXPERTS = dict(TINY, num_experts=2)  # each expert of each block costs time to trace


def random_batch(lengths=(7, 5, 2), padded=0, predictions=None, seed=0, words=50):
    """Inputs of examples of given lengths, padded to the longest and `padded` more; padding has ids that words have too."""
    random = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths) + padded)
    batch = {
        "input_word_ids": random.integers(0, words, shape),
        "input_mask": np.arange(shape[1]) < np.array(lengths)[:, np.newaxis],
        "input_type_ids": random.integers(0, 2, shape),
    }
    if predictions is not None:
        batch["masked_lm_positions"] = random.integers(0, min(lengths), (len(lengths), predictions))
    return {name: array.astype(np.int32) for name, array in batch.items()}


def more_padding(batch, amount, word=3):
    """The same examples, with as many tokens of padding after them as `amount` says."""
    fill = {"input_word_ids": word, "input_mask": 0, "input_type_ids": 1}
    return {
        name: np.pad(array, [(0, 0), (0, amount)], constant_values=fill[name]) if name in fill else array
        for name, array in batch.items()
    }


def randomize(model, seed=0, scale=0.2):
    """Gives every weight random values, those that start as zeros and ones too, so that each of them matters."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        start = 1.0 if "gamma" in weight.name else 0.0
        weight.assign((start + random.normal(scale=scale, size=weight.shape)).astype(weight.dtype.as_numpy_dtype))
    return model
