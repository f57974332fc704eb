"""What text layers owe Keras: the check that those of widenet pass (tests/widenet/test_layer.py), with cases of its own."""

import pytest
import tensorflow as tf

from bert.layers import Span, TextEmbedding

# The tests themselves, which run here with this module's `case`.
from tests.widenet.test_layer import (  # noqa: F401
    DENSE,
    WIDTH,
    Case,
    test_checkpoint,
    test_config,
    test_config_is_plain_json,
    test_config_of_a_mixed_precision_layer,
    test_eager_equals_graph_equals_xla,
    test_float64,
    test_global_policy_is_that_of_new_layers,
    test_mixed_bfloat16,
    test_one_step_of_fit_moves_every_weight,
    test_saved_model_gives_the_same,
    test_symbolic_call_equals_eager_call,
    test_weights,
)


def call_embedding(layer, x, mask):
    """The mask's two values as words and types."""
    ids = tf.cast(mask, tf.int32)
    return [layer(1 + ids, type_ids=ids)[0]]


def call_with_mask(layer, x, mask):
    return [layer(x, mask=mask)]


EMBEDDING = dict(vocab_size=5, max_length=9, type_vocab_size=2, norm_epsilon=1e-3)
CASES = {
    "embedding": Case(
        TextEmbedding,
        dict(embedding_dim=4, width=6, initializer=tf.keras.initializers.TruncatedNormal(stddev=0.02), **EMBEDDING),
        call_embedding,
        [(5, 4), (9, 4), (2, 4), (1, 4), (1, 4), (4, 6), (6,)],
    ),
    "embedding_of_equal_width": Case(
        TextEmbedding,
        dict(embedding_dim=4, width=4, **EMBEDDING),
        call_embedding,
        [(5, 4), (9, 4), (2, 4), (1, 4), (1, 4)],
    ),
    "span": Case(Span, {}, call_with_mask, [(WIDTH, 2), (2,)]),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


graph_case = case  # all of them, as they take little time
