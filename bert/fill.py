"""Texts with gaps, and the words that a pretrained model would put there:
python -m bert.fill --model=runs/pretraining "the film was very [MASK] ."

The model is a run of pretraining or what it exported. Each [MASK] is one token of the vocabulary.
"""

import argparse
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from bert.masked_lm.fill_mask import GAP
from official.checkpoints.weights import local_path
from official.serving.saved_models import SAVED_MODEL
from official.serving.signatures import load_exported


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
