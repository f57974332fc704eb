"""Case (benchmarks/worker.py) of Hugging Face Transformers' TensorFlow classes, with a version of theirs that still has them.

Imports nothing of this project.
"""

import importlib.metadata
import platform

import tensorflow as tf
import transformers
from transformers.modeling_tf_utils import keras  # tf_keras where that is installed, which may not be tf.keras


def bert_step(batch, length, mode, jit_compile=False, **sizes):
    """BERT with a head for 2 classes in float32, compiled and run as in its `fit`; dropouts of 0.1. No token is padding.

    Args:
      batch, length: texts, and tokens of each.
      mode: "train": forward, cross entropy, backward, clipping and AdamW; "forward": logits.
      jit_compile: whether XLA compiles the step.
      **sizes: settings of transformers.BertConfig.
    """
    keras.utils.set_random_seed(0)
    config = transformers.BertConfig(num_labels=2, **sizes)
    model = transformers.TFBertForSequenceClassification(config)
    words = tf.random.stateless_uniform([batch, length], [0, 0], 0, config.vocab_size, tf.int32)
    inputs = {"input_ids": words, "attention_mask": tf.ones_like(words), "token_type_ids": tf.zeros_like(words)}
    labels = tf.random.stateless_uniform([batch], [0, 1], 0, 2, tf.int32)
    model(inputs)
    facts = {
        "kept": 1.0,
        "parameters": model.count_params(),
        "jit_compile": jit_compile,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "transformers": importlib.metadata.version("transformers"),
        },
    }
    if mode == "forward":
        forward = tf.function(lambda inputs: model(inputs, training=False).logits, jit_compile=jit_compile)
        return lambda: forward(inputs).numpy(), facts
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-4, weight_decay=0.01, global_clipnorm=1.0), loss, jit_compile=jit_compile)
    data = iter(tf.data.Dataset.from_tensors((inputs, labels)).repeat())
    train = model.make_train_function()
    return lambda: float(train(data)["loss"]), facts
