"""Which precision is fast on this machine."""

import statistics
import time

import tensorflow as tf

# Mixed precision must win by so much on matrix products alone to win a whole step, which has casts besides.
NEEDED_SPEEDUP = 1.25
ROUNDS = 5

PRECISION_FILE = "precision.txt"  # in the workdir of a run whose precision was chosen for it


def fastest_precision():
    """The faster of "mixed_bfloat16" and "float32" on the first device, judged by large matrix products.

    Times both in turns, for about a second on CPU. Processors without bfloat16 instructions emulate them, and are slower with it.
    """
    speedup = statistics.median(_seconds(tf.float32) / _seconds(tf.bfloat16) for _ in range(ROUNDS))
    return "mixed_bfloat16" if speedup >= NEEDED_SPEEDUP else "float32"


def _seconds(dtype):
    """Time of one product of [2048, 1024] and [1024, 2048]."""
    a, b = tf.ones([2048, 1024], dtype), tf.ones([1024, 2048], dtype)
    tf.matmul(a, b)  # the first prepares the operation
    start = time.perf_counter()
    tf.matmul(a, b).numpy()
    return time.perf_counter() - start
