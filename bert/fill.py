"""Fills [MASK] in texts with the words that a pretrained model finds most likely.

    python -m bert.fill --model=runs/pretraining "the film was very [MASK] ."

Each [MASK] is one token of the vocabulary. The command prints the five most likely tokens for each of them.
"""

import argparse
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from bert.masked_lm.fill_mask import GAP
from official.checkpoints.weights import local_path
from official.cli.arguments import add_model
from official.files.layout import SAVED_MODEL, printable
from official.serving.signatures import load_exported


def fill_texts(path, texts):
    """Fills gaps with a model on disk.

    Args:
      path: the workdir of a finished pretraining run, or the path or handle of its SavedModel.
      texts: list of str with at least one GAP each.

    Returns:
      For each text and each of its gaps a list of (word, probability), best first.

    Raises:
      ValueError: a text without a gap, or a path without a pretrained model.
    """
    for text in texts:
        if GAP not in text:
            raise ValueError(f"the text {text!r} is not allowed: it must have {GAP} in place of a word")
    found = local_path(path, "--model")
    exported = next((place for place in (found, found / SAVED_MODEL) if tf.saved_model.contains_saved_model(str(place))), None)
    if exported is None:
        raise ValueError(f"--model={str(path)!r} is not allowed: it must be a finished pretraining run or its SavedModel")
    model = load_exported(str(exported))  # a reference keeps its variables alive
    signature = model.signatures["serving_default"]
    if set(signature.structured_outputs) != {"words", "probabilities"}:
        outputs = ", ".join(sorted(signature.structured_outputs))
        raise ValueError(f"--model={str(path)!r} is not allowed: it must be of a pretraining run; {exported} has {outputs}")
    found = signature(text=tf.constant(texts))
    filled = []
    for words, probabilities in zip(found["words"].numpy(), found["probabilities"].numpy(), strict=True):
        gaps = zip(words, probabilities, strict=True)
        gaps = [[(word.decode(), float(share)) for word, share in zip(*gap, strict=True)] for gap in gaps]
        filled.append([gap for gap in gaps if gap[0][0]])  # rows of texts with fewer gaps end in empty words
    return filled


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m bert.fill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model(parser, "workdir of a finished pretraining run, or path or handle of its SavedModel")
    parser.add_argument("text", nargs="+", help=f"text with {GAP} in place of each word to predict")
    args = parser.parse_args(argv)
    try:
        filled = fill_texts(args.model, args.text)
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    for text, gaps in zip(args.text, filled, strict=True):
        print(text)
        for guesses in gaps:
            print("    " + ", ".join(f"{printable(word)} {share:.1%}" for word, share in guesses))


if __name__ == "__main__":
    main()
