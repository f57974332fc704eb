"""Cases of one MoE layer: forward, or forward and backward with respect to the input and all weights."""

import tensorflow as tf

SHAPE = dict(batch=8, length=196, width=768, experts=4, hidden=4096, top_k=2)


def shared_moe(
    precision, mode, batch, length, width, experts, hidden, top_k, compiled=True, jit_compile=False, capacity_factor=None
):
    """widenet.SharedMoE on random tokens.

    Args:
      compiled: whether XLA compiles its elementwise functions, as in widenet.Model's steps.
      jit_compile: whether XLA compiles the whole program, with buffers of static size.
      capacity_factor: in training; None drops nothing.
    """
    from widenet import SharedMoE
    from widenet.fast_path import xla_elementwise

    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    layer = SharedMoE(experts, hidden, top_k, capacity_factor=capacity_factor, noise=False)
    tokens = tf.random.stateless_normal([batch, length, width], [0, 0])
    tokens = tf.Variable(tf.cast(tokens, layer.compute_dtype))
    layer.build(tokens.shape)
    facts = {"kept": 1.0, "flops": 2 * 2 * batch * length * top_k * width * hidden * (3 if mode == "train" else 1)}

    @tf.function(jit_compile=jit_compile)
    def forward():
        with xla_elementwise(compiled):
            return layer(tokens, training=False)

    @tf.function(jit_compile=jit_compile)
    def train():
        with tf.GradientTape() as tape, xla_elementwise(compiled):
            output = layer(tokens, training=True)
            loss = tf.reduce_sum(tf.cast(output, tf.float32) * direction) + sum(layer.losses)
        return tape.gradient(loss, [tokens, *layer.trainable_variables])

    direction = tf.random.stateless_normal(tokens.shape, [0, 1])
    if mode == "forward":
        return lambda: forward().numpy(), facts
    return lambda: train()[0].numpy(), facts
