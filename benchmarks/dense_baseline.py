"""The dense baseline: a vision transformer in plain Keras layers with exactly the matrix products of a WideNet.

All blocks share attention and feed-forward weights, each has its own norms, and the feed-forward layer is as wide as the K
experts of a token together. Nothing of this project is used, and nothing is optimized.
"""

import tensorflow as tf


def shared_vit(depth=12, width=768, heads=12, ffn_dim=8192, image_size=224, patch_size=16, classes=1000):
    """An uncompiled tf.keras.Model: images [batch, image_size, image_size, 3] to logits [batch, classes]."""
    attention = tf.keras.layers.MultiHeadAttention(heads, width // heads)
    ffn_in = tf.keras.layers.Dense(ffn_dim, activation="gelu")
    ffn_out = tf.keras.layers.Dense(width)
    tokens = (image_size // patch_size) ** 2

    images = tf.keras.Input((image_size, image_size, 3))
    x = tf.keras.layers.Conv2D(width, patch_size, strides=patch_size)(images)
    x = tf.keras.layers.Reshape((tokens, width))(x)
    x += tf.keras.layers.Embedding(tokens, width)(tf.range(tokens))
    for _ in range(depth):
        h = tf.keras.layers.LayerNormalization(epsilon=1e-6)(x)
        x += attention(h, h)
        h = tf.keras.layers.LayerNormalization(epsilon=1e-6)(x)
        x += ffn_out(ffn_in(h))
    x = tf.keras.layers.LayerNormalization(epsilon=1e-6)(x)
    x = tf.keras.layers.GlobalAveragePooling1D()(x)
    x = tf.keras.layers.Dense(width, activation="tanh")(x)
    return tf.keras.Model(images, tf.keras.layers.Dense(classes, dtype="float32")(x))
