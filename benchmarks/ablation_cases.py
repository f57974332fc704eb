"""Cases of benchmarks.ablation: each optimization, and the straightforward code that it replaces."""

import contextlib

import tensorflow as tf


def plain_layer(precision, mode, batch, length, width, experts, hidden, top_k):
    """A straightforward mixture of experts: stacked kernels, and a loop over experts with a gather and a scatter for each."""
    del mode  # always forward and backward
    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32

    def weight(shape):
        return tf.Variable(tf.random.stateless_normal(shape, [0, 0], stddev=0.02))

    kernel_in, kernel_out = weight([experts, width, hidden]), weight([experts, hidden, width])
    bias_in, bias_out, router = weight([experts, hidden]), weight([experts, width]), weight([width, experts])
    weights = [kernel_in, bias_in, kernel_out, bias_out, router]
    tokens = tf.Variable(tf.cast(tf.random.stateless_normal([batch * length, width], [0, 0]), dtype))
    direction = tf.random.stateless_normal(tokens.shape, [0, 1])

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            gates, chosen = tf.math.top_k(tf.nn.softmax(tf.matmul(tf.cast(tokens, tf.float32), router)), top_k)
            output = tf.zeros_like(direction)
            for e in range(experts):
                own = tf.where(chosen == e)
                x = tf.gather(tokens, own[:, 0])
                x = tf.nn.gelu(tf.matmul(x, tf.cast(kernel_in[e], dtype)) + tf.cast(bias_in[e], dtype))
                x = tf.matmul(x, tf.cast(kernel_out[e], dtype)) + tf.cast(bias_out[e], dtype)
                x = tf.cast(x, tf.float32) * tf.gather_nd(gates, own)[:, tf.newaxis]
                output = tf.tensor_scatter_nd_add(output, own[:, :1], x)
            total = tf.reduce_sum(output * direction)
        # Gradients of gathers and slices are made dense, as an optimizer would do.
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(total, [tokens, *weights])]

    return lambda: train()[0].numpy(), {}


def optimizer(compiled=True):
    """One update of WideNet-B/16's weights by LAMB; without `compiled` by the one whose update it compiles."""
    import vision
    from benchmarks.image_models import lamb
    from official.training.optimizers import LAMB, bases

    weights = vision.create_model("widenet_b16").trainable_weights
    gradients = [tf.random.stateless_normal(weight.shape, [0, 0]) for weight in weights]
    chosen = lamb(LAMB if compiled else bases.LAMB)

    @tf.function
    def update():
        chosen.apply_gradients(zip(gradients, weights, strict=True))
        return weights[0][0]

    return lambda: update().numpy(), {"parameters": sum(weight.shape.num_elements() for weight in weights)}


def without_transposition(**settings):
    """The case of benchmarks/layer_cases.py with TensorFlow's product with a transposed kernel."""
    import widenet.feed_forward
    from benchmarks.layer_cases import shared_moe

    widenet.feed_forward._times_transpose = lambda x, kernel: tf.matmul(x, kernel, transpose_b=True)
    return shared_moe(**settings)


def encoder(precision, cast_once=True, norms=True):
    """Forward and backward pass of six blocks of WideNet-B on the tokens of eight images.

    Args:
      cast_once: whether shared weights are cast once for all blocks.
      norms: whether layer norms are compiled.
    """
    import widenet.encoder
    import widenet.norm
    from widenet.fast_path import xla_elementwise

    if not cast_once:
        widenet.encoder.cast_once = lambda uses: contextlib.nullcontext()
    if not norms:
        widenet.norm.compiles_elementwise = lambda elements: False
    tf.keras.mixed_precision.set_global_policy(precision)
    layer = widenet.encoder.Encoder(6, 768, 12, 4096, noise=False, capacity_factor=None)
    x = tf.cast(tf.random.stateless_normal([8, 196, 768], [0, 0]), layer.compute_dtype)
    layer(x)

    @tf.function
    def train():
        with tf.GradientTape() as tape, xla_elementwise():
            total = tf.reduce_sum(tf.cast(layer(x, training=True), tf.float32))
        return [gradient[0] for gradient in tape.gradient(total, layer.trainable_variables)]

    return lambda: [gradient.numpy() for gradient in train()], {}
