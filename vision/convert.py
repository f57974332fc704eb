"""Converts a vision transformer of another project: python -m vision.convert --from=FOLDER --output=models/vit

Reads a folder of Hugging Face with a ViT, DeiT or DINOv2 (config.json, model.safetensors, preprocessor_config.json), a file
.safetensors or .onnx, or one of Google's .npz. Writes what official.export writes of a run: a SavedModel that official.predict,
official.evaluate, official.publish and vision.load_model take, and official.train as --config.init. Prints what became of every
tensor. A source without a classifier becomes a model that gives features.

    python -m vision.convert --from=runs/vit --output=models/hf --to=huggingface

writes a dense vision transformer of this project as such a folder of Hugging Face.
"""

import argparse
import ast
import pathlib

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.checkpoints.trained_models import change_data
from official.conversion.command import check_given, conversion_parser, run_conversion
from official.conversion.source import open_source
from official.files.layout import check_output
from official.files.summary import run_facts
from official.serving.saved_models import write_saved_model
from official.task import create_task
from official.zoo import check_model_name
from vision.conversion.exporting import export_hugging_face
from vision.conversion.importing import convert_images
from vision.conversion.settings import UNSEEN
from vision.recipes import image_recipe
from vision.transfer import transfer_weights


def convert_model(source, output, name=None, prefix=None, data=None, **given):
    """Writes a model that was made elsewhere as an exported model of this project.

    Args:
      source: a path, as of official.conversion.source.open_source.
      output: the folder to write, new or empty.
      name: of the model; None for one of its size, such as "vit_s14".
      prefix: dotted path of the module in the source that is the model; None where there is only one.
      data: {setting: text}, to change the `data` settings of the model's config.
      **given: as of vision.conversion.importing.convert. Another `image_size` than the source's has its positions resampled.

    Returns:
      (the content of the export's official.files.layout.FACTS_FILE, list of official.conversion.source.Rows, list of sentences
      that the user should read).

    Raises:
      ValueError: a source that cannot be converted, or a setting that is not allowed.
      OSError: the output cannot be written.
    """
    folder = pathlib.Path(output)
    check_output(folder, False, "an empty folder")
    check_model_name(name)
    opened = open_source(source, "--from", prefix)
    given = {setting: value for setting, value in given.items() if value is not None}
    converted, of_data = convert_images(opened, given)
    notes = list(opened.notes)
    settings = {key: value for key, value in converted.settings.items() if key != "features_only"}
    check_given(opened, {name: value for name, value in given.items() if name in UNSEEN}, settings)
    settings |= {"image_size": given.get("image_size", settings["image_size"])}
    config = image_recipe("vit_b16", settings, {**of_data, "classes": tuple(of_data["classes"])}, {})
    config.name = name or converted.name
    change_data(config, opened.given, None, data or {})
    tf.keras.mixed_precision.set_global_policy("float32")
    task = create_task(config)
    spec = task.part("model")
    for row in transfer_weights(spec.model, converted.weights, converted.settings):
        if row.result == "resampled":
            notes.append(f"{row.weight} is resampled, {row.reason}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    facts = run_facts(config.name, task.unit, None, {})
    return write_saved_model(spec, folder, configs.to_plain(config), facts), converted.rows, notes


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be a number, or several with commas") from error


def main(argv=None):
    parser, untold = conversion_parser("vision.convert", __doc__, "its size, such as vit_s14", "backbone")
    size = "side of the images, or height,width (default: the source's; for another one positions are resampled)"
    parser.add_argument("--image_size", type=_literal, metavar="PIXELS", help=size)
    untold.add_argument("--image_mean", type=_literal, help="of pixels from 0 to 1, a number or one for each channel")
    untold.add_argument("--image_std", type=_literal, help="their standard deviation")
    run_conversion(parser, convert_model, export_hugging_face, argv)


if __name__ == "__main__":
    main()
