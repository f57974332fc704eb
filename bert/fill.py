"""Texts with gaps, and the words that a pretrained model would put there:
python -m bert.fill --model=runs/pretraining "the film was very [MASK] ."

The model is a run of pretraining or what it exported. Each [MASK] is one token of the vocabulary.
"""

import argparse
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from bert.tokenizers.packing import beginning, pack
from official.checkpoints.weights import local_path
from official.files.workdir import SAVED_MODEL
from official.serving.signatures import load_exported

GAP = "[MASK]"
GUESSES = 5


class WordFiller:
    """Fills gaps in texts; all of it TensorFlow operations.

    Args:
      tokenizer: of bert.tokenizer.
      max_length: tokens to which a text is cut.
    """

    def __init__(self, tokenizer, max_length):
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._tokens = tokenizer.to_tokens(range(tokenizer.size))

    def inputs(self, texts):
        """What the model takes, of texts in which each GAP is one token to be guessed.

        Args:
          texts: string [N].

        Returns:
          (dict of int32 [N, length] and `masked_lm_positions` int32 [N, gaps], 0 where a text has fewer; bool [N, gaps]).
        """
        parts = tf.strings.split(beginning(texts, self._max_length), GAP)
        tokens = self._tokenizer.tokenize(parts.flat_values)
        gap = tf.fill([tokens.nrows(), 1], self._tokenizer.ids.mask)
        with_gaps = parts.with_flat_values(tf.concat([tokens, gap], axis=1)).merge_dims(1, 2)
        with_gaps = with_gaps[:, :-1]  # behind the last part is none
        inputs = pack(self._tokenizer, [with_gaps], self._max_length, pad=False)
        is_gap = inputs["input_word_ids"] == self._tokenizer.ids.mask
        gaps = tf.reduce_max(tf.reduce_sum(tf.cast(is_gap, tf.int32), axis=1))
        positions = tf.argsort(tf.cast(~is_gap, tf.int32), axis=1, stable=True)[:, :gaps]
        is_real = tf.gather(is_gap, positions, batch_dims=1)
        return {**inputs, "masked_lm_positions": tf.where(is_real, positions, 0)}, is_real

    def fill(self, model, texts):
        """The best words for each gap.

        Args:
          model: for pretraining.
          texts: string [N].

        Returns:
          Dict of `words` string [N, gaps, GUESSES], best first, and `probabilities` float32 of the same shape; "" and 0 where a
          text has fewer gaps than another.
        """
        inputs, is_real = self.inputs(texts)
        probabilities = tf.nn.softmax(tf.cast(model(inputs, training=False)["mlm_logits"], tf.float32))
        best, ids = tf.math.top_k(probabilities, GUESSES)
        is_real = is_real[..., tf.newaxis]
        return {"words": tf.where(is_real, tf.gather(self._tokens, ids), ""), "probabilities": tf.where(is_real, best, 0)}


def fill_texts(path, texts):
    """Fills gaps by a model on disk.

    Args:
      path: the workdir of a finished run of pretraining, or the path or handle of the SavedModel that it exported.
      texts: list of str with one GAP or more each.

    Returns:
      For each text and each of its gaps a list of (word, probability), GUESSES of them, best first.

    Raises:
      ValueError: a text without a gap, or no model of pretraining at the path.
    """
    for text in texts:
        if GAP not in text:
            raise ValueError(f"the text {text!r} is not allowed: it must have {GAP} where a word is to be guessed")
    found = local_path(path, "--model")
    exported = next((place for place in (found, found / SAVED_MODEL) if tf.saved_model.contains_saved_model(str(place))), None)
    if exported is None:
        raise ValueError(f"--model={str(path)!r} is not allowed: it must be a finished run of pretraining or a SavedModel of one")
    model = load_exported(str(exported))  # kept, for its variables go when it goes
    signature = model.signatures["serving_default"]
    if set(signature.structured_outputs) != {"words", "probabilities"}:
        outputs = ", ".join(sorted(signature.structured_outputs))
        raise ValueError(f"--model={str(path)!r} is not allowed: it must be of pretraining; {exported} gives {outputs}")
    found = signature(text=tf.constant(texts))
    filled = []
    for words, probabilities in zip(found["words"].numpy(), found["probabilities"].numpy(), strict=True):
        gaps = zip(words, probabilities, strict=True)
        gaps = [[(word.decode(), float(share)) for word, share in zip(*gap, strict=True)] for gap in gaps]
        filled.append([gap for gap in gaps if gap[0][0]])  # a shorter text's row ends in empty words
    return filled


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", required=True, help="workdir of a finished run of pretraining, or path or handle of its SavedModel"
    )
    parser.add_argument("text", nargs="+", help=f"with {GAP} where a word is to be guessed")
    given = parser.parse_args()
    try:
        filled = fill_texts(given.model, given.text)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for text, gaps in zip(given.text, filled, strict=True):
        print(text)
        for guesses in gaps:
            print("    " + ", ".join(f"{word} {share:.1%}" for word, share in guesses))


if __name__ == "__main__":
    main()
