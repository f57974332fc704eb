"""Mixup and label smoothing. Every random number follows from the seeds argument."""

import tensorflow as tf

from widenet.checks import check_not_negative, check_rate, refuse


def mixup(images, labels, seeds, alpha):
    """Mixes examples 2k and 2k + 1 of a batch with each other (mixup, arXiv:1710.09412):

      x'_i = s_i x_i + (1 - s_i) x_partner(i),    s_i ~ Beta(alpha, alpha) from seed i alone,

    and labels likewise. The result of an example depends on its pair alone, not on the batch size.

    Args:
      images: float [batch, height, width, channels], batch even.
      labels: float [batch, classes], distributions over the classes.
      seeds: int [batch, 2].
      alpha: a finite number of at least 0. 0 mixes nothing and allows odd batches; with large values every s_i is about 1/2.

    Returns:
      Images and labels of the same shapes and dtypes.

    Raises:
      ValueError: an alpha that is not allowed, an odd batch, or images or labels that are not floats.
      tf.errors.InvalidArgumentError: an odd batch of dynamic size, when it runs.
    """
    check_not_negative("alpha", alpha)
    images, labels = _floats("images", images), _floats("labels", labels)
    if alpha == 0:
        return images, labels
    batch = images.shape[0]
    if batch is not None and batch % 2:
        refuse("batch", batch, "even: mixup makes pairs")
    is_even = tf.debugging.assert_equal(tf.shape(images)[0] % 2, 0, "mixup makes pairs: the batch must be even")
    with tf.control_dependencies([is_even] if is_even is not None else []):
        shares = draw_shares(seeds, alpha)
        return _mix_pairs(images, shares), _mix_pairs(labels, shares)


def smooth_labels(labels, amount):
    """Label smoothing (arXiv:1512.00567, section 7): (1 - amount) * labels + amount / classes.

    Args:
      labels: float [..., classes], distributions over the classes.
      amount: a number in [0, 1).

    Returns:
      The same shape and dtype.

    Raises:
      ValueError: an amount that is not allowed, or labels that are not floats.
    """
    check_rate("amount", amount)
    labels = _floats("labels", labels)
    return (1 - amount) * labels + amount / labels.shape[-1]


# A tf.function, since an eager tf.map_fn takes milliseconds per example.
@tf.function(reduce_retracing=True, autograph=False)
def draw_shares(seeds, alpha):
    """Samples of Beta(alpha, alpha), each from its own seed.

    A sample is g / (g + h) for g and h of Gamma(alpha). Both underflow for a small alpha, so their logarithms are drawn:
    Gamma(alpha) is Gamma(alpha + 1) * U ** (1 / alpha) for U uniform in (0, 1] (Marsaglia and Tsang, "A simple method for
    generating gamma variables", 2000, section 6).

    Args:
      seeds: int [batch, 2].
      alpha: a number above 0.

    Returns:
      float32 [batch] in [0, 1].
    """

    def draw(seed):
        gamma_seed, uniform_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        gamma = tf.random.stateless_gamma([2], gamma_seed, alpha + 1.0)
        uniform = 1 - tf.random.stateless_uniform([2], uniform_seed)
        log_gamma = tf.math.log(gamma) + tf.math.log(uniform) / alpha
        return tf.sigmoid(log_gamma[0] - log_gamma[1])

    return tf.map_fn(draw, seeds, fn_output_signature=tf.float32)


def _mix_pairs(values, shares):
    """shares * values + (1 - shares) * partners over float [batch, ...]."""
    shape = tf.shape(values)
    pairs = tf.reshape(values, tf.concat([[shape[0] // 2, 2], shape[1:]], axis=0))
    partners = tf.reshape(tf.reverse(pairs, axis=[1]), shape)
    shares = tf.reshape(tf.cast(shares, values.dtype), [-1] + [1] * (values.shape.rank - 1))
    mixed = shares * values + (1 - shares) * partners
    mixed.set_shape(values.shape)
    return mixed


def _floats(setting, values):
    """A tensor of floats; integers are refused, since mixing would silently round them."""
    values = tf.convert_to_tensor(values)
    if not values.dtype.is_floating:
        refuse(setting, values.dtype.name, "of a floating type")
    return values
