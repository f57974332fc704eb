"""Windows over contexts: by hand, and against the same rules written as loops."""

import numpy as np
import pytest
import tensorflow as tf

from bert.squad.windows import Windows, answer_positions, context_tokens, is_max_context, make_windows


def loop_of_windows(context_length, room, stride):
    """[(first, length)] of one context."""
    found, first = [], 0
    while True:
        length = min(context_length - first, room)
        found.append((first, length))
        if first + length == context_length:
            return found
        first += stride


def lay(questions, contexts, max_length, stride):
    """Windows as NumPy arrays."""
    return Windows(*(value.numpy() for value in make_windows(tf.constant(questions), tf.constant(contexts), max_length, stride)))


def test_by_hand():
    """Room for 9 - 3 - 2 = 4 and 9 - 3 - 1 = 5 tokens, a stride of 2."""
    windows = lay([2, 1, 2, 2], [7, 5, 0, 5], max_length=9, stride=2)
    assert windows.question.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert windows.first.tolist() == [0, 2, 4, 0, 0, 0, 2]
    assert windows.length.tolist() == [4, 4, 3, 5, 0, 4, 3]
    assert windows.shift.tolist() == [4, 4, 4, 3, 4, 4, 4]
    tokens = context_tokens(Windows(*map(tf.constant, windows)), 9).numpy()
    assert tokens[:3, :4].tolist() == [[-1] * 4] * 3
    assert tokens[:3, 4:].tolist() == [[0, 1, 2, 3, -1], [2, 3, 4, 5, -1], [4, 5, 6, -1, -1]]
    assert tokens[3].tolist() == [-1, -1, -1, 0, 1, 2, 3, 4, -1]
    assert tokens[4].tolist() == [-1] * 9


def test_every_size_as_by_the_loop():
    """All context lengths up to several windows, and all strides up to the room there is."""
    for room in (1, 2, 5):
        for stride in range(1, room + 1):
            contexts = np.arange(0, 14, dtype=np.int32)
            windows = lay(np.full(14, 3, np.int32), contexts, max_length=room + 6, stride=stride)
            found = [[] for _ in contexts]
            for question, first, length in zip(*windows[:3], strict=True):
                found[question].append((first, length))
            assert found == [loop_of_windows(length, room, stride) for length in contexts], (room, stride)


def expected_to_count(windows, positions):
    """By loops over windows and tokens, with the published weight of a hundredth of the length; bool [W, positions]."""
    parts = list(zip(*(value.numpy() for value in windows), strict=True))
    expected = np.zeros([len(parts), positions], bool)
    for w, (question, first, length, shift) in enumerate(parts):
        for j in range(length):
            best, best_window = -1.0, None
            for v, (other, other_first, other_length, _) in enumerate(parts):
                left = first + j - other_first
                right = other_length - 1 - left
                if other == question and left >= 0 and right >= 0 and min(left, right) + 0.01 * other_length > best:
                    best, best_window = min(left, right) + 0.01 * other_length, v
            expected[w, shift + j] = best_window == w
    return expected


def test_tokens_count_where_their_context_is_largest():
    """On random windows; each token counts once."""
    random = np.random.default_rng(0)
    for _ in range(20):
        max_length = int(random.integers(12, 20))
        questions = random.integers(1, 6, 4).astype(np.int32)
        contexts = random.integers(0, 30, 4).astype(np.int32)
        stride = int(random.integers(1, max_length - 3 - 5 + 1))
        windows = make_windows(tf.constant(questions), tf.constant(contexts), max_length, stride)
        found = is_max_context(windows, context_tokens(windows, max_length)).numpy()
        np.testing.assert_array_equal(found, expected_to_count(windows, max_length))
        assert found.sum() == contexts.sum()


def test_tokens_count_for_more_in_much_longer_windows():
    """Token 342 has 85 tokens around it in a window of 300, which is more than 86 in one of 182: 88 against 87.82."""
    windows = make_windows(tf.constant([3]), tf.constant([438]), 306, 128)
    assert windows.length.numpy().tolist() == [300, 300, 182]
    found = is_max_context(windows, context_tokens(windows, 306)).numpy()
    assert found[:, 5 + 342 - 128].tolist() == [False, True, False]
    np.testing.assert_array_equal(found, expected_to_count(windows, 306))


@pytest.mark.parametrize(
    "answer, positions",
    [
        ((0, 0), [(4, 4), (0, 0), (0, 0)]),
        ((2, 3), [(6, 7), (4, 5), (0, 0)]),
        ((3, 4), [(0, 0), (5, 6), (0, 0)]),  # the first window ends inside the answer, and the third begins there
        ((6, 6), [(0, 0), (0, 0), (6, 6)]),
        ((1, 6), [(0, 0), (0, 0), (0, 0)]),  # longer than any window
        ((-1, -1), [(0, 0), (0, 0), (0, 0)]),  # no answer
    ],
)
def test_answers_in_the_inputs(answer, positions):
    """The first question of test_by_hand: tokens 0-3, 2-5 and 4-6, from position 4 on."""
    windows = make_windows(tf.constant([2]), tf.constant([7]), 9, 2)
    assert [tuple(row) for row in answer_positions(windows, tf.constant([answer])).numpy().tolist()] == positions
