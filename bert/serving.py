"""Endpoints of exported text models that do not depend on the task: encodings, and preprocessing of texts."""

import tensorflow as tf

from bert.tokenizers.packing import beginning, pack
from official.exportable import CallableSpec, input_specs

TEXT, PAIR = "text", "text_pair"


def text_inputs(tokenizer, texts, max_length, pad=False):
    """Makes a model's inputs of raw texts or pairs of texts; other arguments and result as of bert.tokenizers.packing.pack.

    Args:
      texts: list of 1 or 2 string [N], cut by bert.tokenizers.packing.beginning.
    """
    segments = [tokenizer.tokenize(beginning(part, max_length)) for part in texts]
    return pack(tokenizer, segments, max_length, pad)


def of_any_batch(function):
    """Wraps an endpoint of texts so that it also takes a batch without examples.

    Such a batch is computed as one of empty texts, whose outputs are cut off: layers and operations need not allow for it.

    Args:
      function: of one or more string [N] to a dict of [N, ...].

    Returns:
      A function of the same arguments and results, for N = 0 too.
    """

    def call(*texts):
        examples = tf.shape(texts[0])[0]
        filler = tf.fill([tf.cast(tf.equal(examples, 0), tf.int32)], "")
        outputs = function(*(tf.concat([part, filler], axis=0) for part in texts))
        return {name: value[:examples] for name, value in outputs.items()}

    return call


def text_specs(pairs):
    """tf.TensorSpecs of texts or, with `pairs`, of pairs of texts."""
    return [tf.TensorSpec([None], tf.string, name=name) for name in ((TEXT, PAIR) if pairs else (TEXT,))]


def encoder_endpoints(encoder, tokenizer, max_length, pairs):
    """Makes endpoints of an encoder: "serve" takes raw texts, "tokens" token ids.

    "tokens" returns `pooled_output`, if the model has one, and `sequence_output`. "serve" returns the first of these.

    Args:
      encoder: of bert.models.encoder_of, or an official.exportable.TracedModel.
      tokenizer: a bert.tokenizer.Tokenizer.
      max_length: tokens to which texts are cut.
      pairs: whether an example has two texts.
    """

    def encode(inputs):
        outputs = encoder(inputs, training=False)
        return {name: outputs[name] for name in ("pooled_output", "sequence_output") if name in outputs}

    def serve(*texts):
        outputs = encode(text_inputs(tokenizer, texts, max_length))
        return {"pooled_output": outputs["pooled_output"]} if "pooled_output" in outputs else outputs

    return {"serve": (of_any_batch(serve), text_specs(pairs)), "tokens": (encode, [input_specs(encoder)])}


def preprocessor(tokenizer, max_length):
    """Makes the module that turns raw texts into an encoder's inputs, like the preprocessors on TF Hub.

    Called with string [N], or a list of two for pairs, it returns the inputs of bert.tokenizers.packing.pack, int32 [N,
    max_length]. Its signature "serve" takes texts, "pairs" takes pairs.

    Returns:
      (endpoints, an official.exportable.CallableSpec).
    """

    def call(texts):
        texts = texts if isinstance(texts, (list, tuple)) else [texts]
        return text_inputs(tokenizer, texts, max_length, pad=True)

    def serve(*texts):
        return call(texts)

    endpoints = {name: (serve, text_specs(pairs)) for name, pairs in (("serve", False), ("pairs", True))}
    return endpoints, CallableSpec(call, [text_specs(False)[0], text_specs(True)], [], trains=False)
