"""What exported text models are asked, beside what their tasks answer: ids of tokens, and encodings."""

import tensorflow as tf

from bert.tokenizers.packing import beginning, pack
from official.exportable import CallableSpec, input_specs

TEXT, PAIR = "text", "text_pair"


def text_inputs(tokenizer, texts, max_length, pad=False):
    """What a model takes, of raw texts or pairs of texts; arguments and results as of bert.tokenizers.packing.pack.

    Args:
      texts: list of 1 or 2 string [N], of which `beginning` is read.
    """
    segments = [tokenizer.tokenize(beginning(part, max_length)) for part in texts]
    return pack(tokenizer, segments, max_length, pad)


def text_specs(pairs):
    """tf.TensorSpecs of texts, or of pairs of texts."""
    return [tf.TensorSpec([None], tf.string, name=name) for name in ((TEXT, PAIR) if pairs else (TEXT,))]


def encoder_endpoints(encoder, tokenizer, max_length, pairs):
    """Endpoints of an encoder: "serve" takes raw texts, "tokens" ids; both give `pooled_output`, where there is one.

    "tokens" gives `sequence_output` too, and so does "serve" where there is nothing else.

    Args:
      encoder: of bert.models.encoder_of, or an official.exportable.TracedModel.
      tokenizer: a bert.tokenizer.Tokenizer.
      max_length: to which texts are cut, in tokens.
      pairs: whether an example has two texts.
    """

    def encode(inputs):
        outputs = encoder(inputs, training=False)
        return {name: outputs[name] for name in ("pooled_output", "sequence_output") if name in outputs}

    def serve(*texts):
        outputs = encode(text_inputs(tokenizer, texts, max_length))
        return {"pooled_output": outputs["pooled_output"]} if "pooled_output" in outputs else outputs

    return {"serve": (serve, text_specs(pairs)), "tokens": (encode, [input_specs(encoder)])}


def preprocessor(tokenizer, max_length):
    """Raw texts to an encoder's inputs, as TF Hub has such a module beside each encoder.

    Called with string [N], or a list of two for pairs, it gives what bert.tokenizers.packing.pack gives, int32 [N, max_length].
    As signatures, "serve" takes texts and "pairs" pairs of them.

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
