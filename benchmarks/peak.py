"""Case of the machine's peak: the fastest of several large matrix products."""

import time

import tensorflow as tf

SHAPES = ((2048, 2048, 2048), (4096, 4096, 4096), (3136, 768, 4096), (3136, 4096, 768))


def products(precision, seconds=1.0):
    """(step, facts): `step` repeats the fastest product of SHAPES for about `seconds`; facts["flops"] are those of one step."""
    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32

    def rate(shape):
        product = _product(shape, dtype)
        product(1)
        start = time.perf_counter()
        product(5)
        return 5 * _flops(shape) / (time.perf_counter() - start)

    best = max(SHAPES, key=rate)
    repeats = max(1, round(seconds * rate(best) / _flops(best)))
    product = _product(best, dtype)
    return lambda: product(repeats), {"flops": repeats * _flops(best), "product": "x".join(map(str, best)), "kept": 1.0}


def _product(shape, dtype):
    m, k, n = shape
    a = tf.cast(tf.random.stateless_normal([m, k], [0, 0]), dtype)
    b = tf.cast(tf.random.stateless_normal([k, n], [0, 1]), dtype)
    multiply = tf.function(lambda: tf.matmul(a, b))

    def repeat(times):
        for _ in range(times):
            multiply()

    return repeat


def _flops(shape):
    m, k, n = shape
    return 2 * m * k * n
