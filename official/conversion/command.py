"""What the commands that convert models share, bert.convert and vision.convert: their options, and their two directions."""

import argparse
import sys

import tensorflow as tf

from official.cli.arguments import parse_with_data, positive
from official.conversion.source import print_account, print_notes
from official.files.layout import printable


def conversion_parser(program, text, size, module):
    """The parser of a command that converts, with the options of all of them.

    Args:
      program: dotted name of the command.
      text: its description.
      size: what a model is named after, for --help.
      module: an example of --prefix.

    Returns:
      (an argparse.ArgumentParser, its group of settings that a file without config.json does not tell).
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="source", metavar="PATH", required=True, help="folder, file or checkpoint to convert")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="folder to write, new or empty")
    parser.add_argument("--to", choices=("huggingface",), help="convert a model of this project into this layout")
    parser.add_argument("--name", help=f"name of the model (default: {size})")
    parser.add_argument("--prefix", metavar="MODULE", help=f"path of the model inside a larger one, such as {module}")
    untold = parser.add_argument_group("settings that a file without config.json does not tell")
    untold.add_argument("--heads", type=positive, help="number of attention heads")
    untold.add_argument("--norm_epsilon", type=float, help="that of the norms, such as 1e-6")
    untold.add_argument("--activation", help="gelu, gelu_tanh, relu, silu, tanh or linear")
    return parser, untold


def run_conversion(parser, convert_model, export_hugging_face, arguments=None):
    """Parses a command line, converts in the direction that it asks for, and prints what became of every tensor.

    Args:
      parser: of `conversion_parser`.
      convert_model: function of a source, an output, `data` ({setting: text}) and the other options that were given, by name. It
        returns (the content of the export's official.files.layout.FACTS_FILE, list of official.conversion.source.Rows, notes).
      export_hugging_face: function of a model and an output. It returns (tensors, the dict in config.json, notes).
      arguments: list of strings; None for those of this process.

    Raises:
      SystemExit: with a message, for what either function refuses.
    """
    given, data = parse_with_data(parser, arguments)
    tf.get_logger().setLevel("ERROR")  # saving warns of untraced functions
    options = {name: value for name, value in vars(given).items() if value is not None}
    source, output, target = options.pop("source"), options.pop("output"), options.pop("to", None)
    try:
        if target is None:
            facts, rows, notes = convert_model(source, output, data=data, **options)
            print_account(rows, notes)
            print(printable(f"{output}: {facts['model']}, {facts['kind']}, {facts['parameters']:,} parameters"))
            return
        if options or data:
            raise ValueError(f"--{[*options, *data][0]} is not allowed with --to={target}, which changes nothing of the model")
        tensors, config, notes = export_hugging_face(source, output)
        print_notes(notes)
        numbers = sum(tensor.size for tensor in tensors.values())
        print(printable(f"{output}: {config['architectures'][0]}, {len(tensors)} tensors, {numbers:,} parameters"))
    except (ValueError, OSError) as error:
        sys.exit(printable(f"error: {error}"))


def check_given(source, given, settings):
    """Refuses settings that the source tells otherwise.

    Args:
      source: an official.conversion.source.Source.
      given: {setting: value} that the user gave.
      settings: dict of the converted model.

    Raises:
      ValueError: names the first one that differs.
    """
    for setting, value in given.items():
        if value is not None and settings[setting] != value:
            raise ValueError(f"--{setting}={value} is not allowed: {source.given} has {setting}={settings[setting]}")
