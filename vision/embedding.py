"""Layers from images to tokens, and from tokens to a grid of features or one feature vector."""

import math

import tensorflow as tf

from vision.sizes import patch_grid, plain_size, sides
from widenet.checks import check_choice
from widenet.layer import Layer, check_initializer, check_regularizer, new_initializer

register = tf.keras.saving.register_keras_serializable(package="vision")

# Keys's cubic kernel, as TensorFlow has it, and PyTorch's.
CUBIC = (-0.5, -0.75)


@register
class PatchEmbedding(Layer):
    """Patch projection, an optional class token in front, and learned positions (ViT, arXiv:2010.11929, section 3.1).

    The projection is a Dense layer on flattened patches. A Conv2D would compute the same, but Keras's Glorot initializer counts
    the patch as a receptive field, and would initialize the kernel of a 16-pixel patch eleven times smaller.

    Args:
      width: size of a token.
      patch_size: side of square patches, or (height, width), in pixels; divides the images' sides.
      class_token: whether a learned token is prepended.
      kernel_initializer: name, config or unseeded instance of a Keras initializer, for the projection.
      kernel_regularizer: name, config or instance of a Keras regularizer of the projection, or None.
      position_cubic: coefficient of the cubic kernel by which the positions are resampled for another image size
        (vision.transfer.resample_positions); one of CUBIC.

    Weights: `projection` (a Dense), `class_token_embedding` [1, 1, width] (initially 0) with a class token, and
    `position_embedding` [1, tokens, width] (initially normal with standard deviation 0.02).
    """

    def __init__(
        self,
        width,
        patch_size,
        class_token,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        position_cubic=CUBIC[0],
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_choice("position_cubic", position_cubic, CUBIC)
        self.width = width
        self.patch_size = plain_size(patch_size)
        self.class_token = class_token
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.position_cubic = position_cubic
        self.projection = tf.keras.layers.Dense(
            width,
            kernel_initializer=new_initializer(self.kernel_initializer),
            kernel_regularizer=self.kernel_regularizer,
            name="projection",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        _, *image_size, channels = input_shape
        tokens = math.prod(patch_grid(image_size, self.patch_size)) + self.class_token
        self.build_child(self.projection, (None, tokens, math.prod(sides(self.patch_size)) * channels))
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
        # Axes: b batch, r rows and c columns of patches, p rows of a patch's pixels, q its columns and channels. Those are one
        # axis, since arrays whose last axis is as short as three channels waste most of a TPU's memory and time.
        _, *image_size, channels = images.shape
        (rows, columns), (height, width) = patch_grid(image_size, self.patch_size), sides(self.patch_size)
        patches = tf.reshape(images, [-1, rows, height, columns, width * channels])  # [b, r, p, c, q]
        patches = tf.transpose(patches, [0, 1, 3, 2, 4])  # [b, r, c, p, q]
        x = self.projection(tf.reshape(patches, [-1, rows * columns, height * width * channels]))
        if self.class_token:
            first = tf.broadcast_to(self.class_token_embedding, [tf.shape(x)[0], 1, self.width])
            x = tf.concat([tf.cast(first, x.dtype), x], axis=1)
        return x + self.position_embedding


@register
class PatchGrid(Layer):
    """Puts the tokens of patches where the patches are in the image, and drops the class token.

    Args:
      rows, columns: of patches.
    """

    def __init__(self, rows, columns, **kwargs):
        super().__init__(**kwargs)
        self.rows = rows
        self.columns = columns

    def call(self, x):
        """Float [batch, tokens, width] to float [batch, rows, columns, width]; the patches are the last tokens, row by row."""
        patches = x[:, x.shape[1] - self.rows * self.columns :]
        return tf.reshape(patches, [-1, self.rows, self.columns, x.shape[2]])


@register
class Pooling(Layer):
    """From all tokens to one vector per image.

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
