"""From images to tokens, and from tokens to one feature vector."""

import tensorflow as tf

from widenet.checks import check_choice
from widenet.layer import Layer

register = tf.keras.saving.register_keras_serializable(package="vision")


@register
class PatchEmbedding(Layer):
    """Patches projected to tokens, an optional class token in front, learned positions (ViT, arXiv:2010.11929, section 3.1).

    Args:
      width: size of a token.
      patch_size: side of the square patches, in pixels; divides the images' sides.
      class_token: whether a learned token comes first.

    Weights: `projection` (a Conv2D), `class_token_embedding` [1, 1, width] where there is one, zeros at first, and
    `position_embedding` [1, tokens, width], normal of standard deviation 0.02 at first.
    """

    def __init__(self, width, patch_size, class_token, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.patch_size = patch_size
        self.class_token = class_token
        self.projection = tf.keras.layers.Conv2D(
            width, patch_size, strides=patch_size, name="projection", dtype=self.dtype_policy
        )

    def build(self, input_shape):
        _, height, width_in_pixels, _ = input_shape
        tokens = (height // self.patch_size) * (width_in_pixels // self.patch_size) + self.class_token
        self.build_child(self.projection, input_shape)
        if self.class_token:
            self.class_token_embedding = self.add_weight(name="class_token", shape=(1, 1, self.width), initializer="zeros")
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(1, tokens, self.width),
            initializer=tf.keras.initializers.RandomNormal(stddev=0.02),
        )
        super().build(input_shape)

    def call(self, images):
        """Float [batch, height, width, channels] to float [batch, tokens, width]."""
        x = self.projection(images)
        x = tf.reshape(x, [-1, x.shape[1] * x.shape[2], self.width])
        if self.class_token:
            first = tf.broadcast_to(self.class_token_embedding, [tf.shape(x)[0], 1, self.width])
            x = tf.concat([tf.cast(first, x.dtype), x], axis=1)
        return x + self.position_embedding


@register
class Pooling(Layer):
    """From all tokens to one vector an image.

    Args:
      pool: "token" (the class token) or "gap" (the mean of all tokens).
    """

    def __init__(self, pool, **kwargs):
        super().__init__(**kwargs)
        check_choice("pool", pool, ("token", "gap"))
        self.pool = pool

    def call(self, x):
        """Float [batch, tokens, width] to float [batch, width]."""
        return x[:, 0] if self.pool == "token" else tf.reduce_mean(x, axis=1)
