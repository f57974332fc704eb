"""A training step of an encoder in plain Keras layers under tf-keras (Keras 2) and Keras 3: python -m benchmarks.keras_versions

Needs the modern stack, which has both packages (docs/stacks.md). By default Keras 3 compiles the step with XLA.
"""

import os

from benchmarks import command
from benchmarks.harness import Case

CASES = {
    "tf-keras": dict(legacy=1),
    "Keras 3": dict(legacy=0),
    "Keras 3, not compiled": dict(legacy=0, jit_compile=False),
    "tf-keras, no layer norms": dict(legacy=1, norms=False),
    "Keras 3, no layer norms, not compiled": dict(legacy=0, norms=False, jit_compile=False),
}


def train_step(legacy, batch=8, length=64, width=192, depth=3, heads=3, classes=10, norms=True, **compiling):
    """(step, facts) of float32 training with Adam; `legacy` is TF_USE_LEGACY_KERAS, 1 for tf-keras."""
    os.environ["TF_USE_LEGACY_KERAS"] = str(legacy)  # before TensorFlow is imported
    import tensorflow as tf

    layers = tf.keras.layers
    norm = layers.LayerNormalization if norms else layers.Identity
    tokens = tf.keras.Input((length, width))
    x = tokens
    for _ in range(depth):
        h = norm()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(h, h)])
        h = layers.Dense(4 * width, activation="gelu")(norm()(x))
        x = layers.Add()([x, layers.Dense(width)(h)])
    model = tf.keras.Model(tokens, layers.Dense(classes)(layers.GlobalAveragePooling1D()(x)))
    model.compile(tf.keras.optimizers.Adam(), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiling)
    inputs = tf.random.stateless_normal([batch, length, width], [0, 0])
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, classes, tf.int32)
    return lambda: model.train_on_batch(inputs, labels), {
        "parameters": model.count_params(),
        "keras": tf.keras.Model.__module__.split(".")[0],
    }


def main():
    given = command.parser(__doc__).parse_args()
    cases = [Case(name, "benchmarks/keras_versions.py", "train_step", settings) for name, settings in CASES.items()]
    command.run("train step of a plain encoder", cases, given, ("parameters", "keras"))


if __name__ == "__main__":
    main()
