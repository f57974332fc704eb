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
import sys

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import config as configs
from official.checkpoints.trained_models import change_data
from official.cli.arguments import parse_with_data, positive
from official.conversion.source import open_source, print_account
from official.files.layout import check_output, printable
from official.files.summary import run_facts
from official.serving.saved_models import write_saved_model
from official.task import create_task
from official.zoo import check_model_name
from vision.conversion.exporting import export_hugging_face
from vision.conversion.importing import convert_images
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
    for setting, value in given.items():
        if setting not in ("image_size", "image_mean", "image_std") and settings[setting] != value:
            raise ValueError(f"--{setting}={value} is not allowed: {opened.given} has {setting}={settings[setting]}")
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


def report(folder, facts, rows, notes):
    """Prints what became of every tensor, and what was written; arguments as `convert_model` returns them."""
    print_account(rows, notes)
    print(f"{folder}: {facts['model']}, {facts['kind']}, {facts['parameters']:,} parameters")


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be a number, or several with commas") from error


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m vision.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="source", metavar="PATH", required=True, help="folder or file to convert")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="folder to write, new or empty")
    parser.add_argument("--to", choices=("huggingface",), help="convert a model of this project into this layout")
    parser.add_argument("--name", help="name of the model (default: its size, such as vit_s14)")
    parser.add_argument("--prefix", metavar="MODULE", help="path of the model inside a larger one, such as backbone")
    size = "side of the images, or height,width (default: the source's; for another one positions are resampled)"
    parser.add_argument("--image_size", type=_literal, metavar="PIXELS", help=size)
    others = parser.add_argument_group("what files without config.json or preprocessor_config.json do not tell")
    others.add_argument("--heads", type=positive, help="number of attention heads")
    others.add_argument("--norm_epsilon", type=float, help="that of the norms, such as 1e-6")
    others.add_argument("--activation", help="gelu, gelu_tanh, relu, silu, tanh or linear")
    others.add_argument("--image_mean", type=_literal, help="of pixels from 0 to 1, a number or one for each channel")
    others.add_argument("--image_std", type=_literal, help="their standard deviation")
    args, data = parse_with_data(parser, argv)
    tf.get_logger().setLevel("ERROR")  # saving warns of untraced functions
    given = {name: value for name, value in vars(args).items() if name not in ("source", "output", "to") and value is not None}
    try:
        if args.to:
            if given or data:
                raise ValueError(f"--{[*given, *data][0]} is not allowed with --to={args.to}, which changes nothing of the model")
            tensors, config = export_hugging_face(args.source, args.output)
            numbers = sum(tensor.size for tensor in tensors.values())
            print(f"{args.output}: {config['architectures'][0]}, {len(tensors)} tensors, {numbers:,} parameters")
            return
        report(args.output, *convert_model(args.source, args.output, data=data, **given))
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))


if __name__ == "__main__":
    main()
