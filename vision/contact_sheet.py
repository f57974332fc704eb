"""Draws training images with a recipe's augmentation:
python -m vision.contact_sheet --config=vision/configs/digits.py --output=sheet.png

Each row is one example of the training split: without augmentation, then with that of each epoch. Settings of the recipe can be
changed as in training: --config.data.SETTING=VALUE.
"""

import io
import math
import pathlib
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from absl import app, flags, logging

from official.cli import recipe_flag
from official.cli.recipe_flag import CONFIG, check_given, given_recipe, parse_flags
from official.files.atomic import atomic_write
from official.files.layout import check_output, printable
from vision.classification import ImageClassification

flags.adopt_module_key_flags(recipe_flag)  # --help lists --config and --data_dir

MARK = "vision.contact_sheet"  # inside the PNG, by which a sheet is known from other pictures
OUTPUT = flags.DEFINE_string("output", None, "PNG file to write.")
EXAMPLES = flags.DEFINE_integer("examples", 8, "Number of examples, one per row.", lower_bound=1)
EPOCHS = flags.DEFINE_integer("epochs", 8, "Number of epochs, one per column.", lower_bound=1)


def draw_sheet(task, examples, epochs):
    """A matplotlib figure of an ImageClassification's first training examples."""
    originals, batches = task.augmented(examples, epochs)
    columns = [("as evaluated", originals), *((f"epoch {epoch}", batch) for epoch, batch in enumerate(batches))]
    figure, axes = plt.subplots(
        examples, len(columns), figsize=(1.5 * len(columns), 1.75 * examples), squeeze=False, layout="constrained"
    )
    for column, (title, (images, labels)) in enumerate(columns):
        for row, axis in enumerate(axes[:, column]):
            pixels = ((images[row] + 1) / 2).clip(0, 1)
            axis.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)
            axis.set_title(_label_text(labels[row], task.class_names), fontsize=7, pad=2)
            axis.set(xticks=[], yticks=[])
            if row == examples - 1:
                axis.set_xlabel(title, fontsize=8)
    return figure


def _label_text(distribution, names):
    """The most probable class and, if examples are mixed, the second one."""
    first, second = distribution.argsort()[::-1][:2]
    uniform = distribution.min()  # the share that label smoothing gives to every class
    if distribution[second] - uniform < 0.01:
        return names[first]
    return f"{names[first]} {distribution[first]:.2f}\n{names[second]} {distribution[second]:.2f}"


def main(argv):
    check_given(CONFIG, OUTPUT)
    try:
        output = pathlib.Path(OUTPUT.value)
        check_output(output, output.is_file() and MARK.encode() in output.read_bytes(), "an earlier contact sheet")
        task = ImageClassification(given_recipe())
        figure = draw_sheet(task, EXAMPLES.value, EPOCHS.value)
        content = io.BytesIO()
        dpi = max(110, math.ceil(1200 / figure.get_figwidth()))  # a sheet of few epochs has 1,200 columns, too
        figure.savefig(content, format="png", dpi=dpi, metadata={"Software": MARK})
        output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(output, content.getvalue())
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))
    print(f"{printable(output)}: {EXAMPLES.value} examples in {EPOCHS.value} epochs")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")
    app.run(main, flags_parser=parse_flags)
