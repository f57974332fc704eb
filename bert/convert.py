"""Converts a BERT or ALBERT of another project: python -m bert.convert --from=FOLDER --output=models/bert

Reads a folder of Hugging Face (config.json, model.safetensors, vocab.txt), a file .safetensors or .onnx, or a checkpoint of
Google's TensorFlow code, and writes what official.export writes of a run: a SavedModel that official.predict, official.evaluate,
official.publish and bert.load_model take, and official.train as --config.init. Prints what became of every tensor.

    python -m bert.convert --from=runs/rotten_tomatoes --output=models/hf --to=huggingface

writes a dense model of this project as such a folder of Hugging Face.
"""

import argparse
import pathlib
import tempfile

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

import bert
from bert import recipes
from bert.conversion.exporting import hugging_face, sentence_files, tokenizer_files
from bert.conversion.importing import convert
from bert.conversion.tokenizers import check_pooling, find_vocabulary, longest_text
from bert.texts.examples import SCORE_NAME
from bert.zoo import zoo
from official import config as configs
from official.checkpoints.pretrained import read_saved
from official.checkpoints.trained_models import change_data, recipe_data
from official.checkpoints.weights import plain_name
from official.cli.arguments import positive
from official.conversion.command import check_given, conversion_parser, run_conversion
from official.conversion.hugging_face import write_hugging_face
from official.conversion.source import open_source
from official.files.layout import check_output
from official.files.summary import run_facts
from official.serving.saved_models import keep_weights, write_saved_model
from official.task import create_task
from official.zoo import check_model_name

TASKS = ("classification", "span", "pretraining", "embedding")


def convert_model(source, output, name=None, task=None, vocabulary=None, lower_case=None, prefix=None, data=None, **given):
    """Writes a model that was made elsewhere as an exported model of this project.

    Args:
      source: a path, as of official.conversion.source.open_source.
      output: the folder to write, new or empty.
      name: of the model; None for one of its family and size, such as "bert_l6_h384".
      task: one of TASKS; None for that of the source's head, or else "embedding".
      vocabulary: path of a vocab.txt or of a SentencePiece model; None for the one beside the weights.
      lower_case: whether texts become lower case and lose their accents; None as the files beside the weights say.
      prefix: dotted path of the module in the source that is the model; None where there is only one.
      data: {setting: text}, to change the `data` settings of the model's config.
      **given: settings of bert.conversion.settings.UNSEEN, for a source without config.json.

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
    if task is not None and task not in TASKS:
        raise ValueError(f"task={task!r} is not allowed: it must be one of {', '.join(TASKS)}")
    opened = open_source(source, "--from", prefix)
    words = find_vocabulary(opened.folder, vocabulary, lower_case)
    of_pooling = check_pooling(opened.folder) if task is None else []
    if words is None:
        raise ValueError(
            f"--from={opened.given!r} is not allowed: {opened.folder} has no vocabulary, without which texts cannot be read: "
            "give the path of a vocab.txt or of a SentencePiece .model as --vocabulary (bert.load_model needs none)"
        )
    converted = convert(opened, bert.model_settings, {**given, "task": task}, words.tokens)
    found = converted.settings["task"]
    if task not in (None, "embedding", found):
        raise ValueError(f"--task={task} is not allowed: {opened.given} has no head for it")
    check_given(opened, given, converted.settings)
    converted = converted._replace(name=name or converted.name)
    tf.keras.mixed_precision.set_global_policy("float32")
    with tempfile.TemporaryDirectory() as temporary:
        file = pathlib.Path(temporary, words.name)
        file.write_bytes(words.content)
        settings = {"vocabulary": str(file), "lower_case": words.lower_case}
        config = _recipe(converted, opened, settings)
        change_data(config, opened.given, None, data or {})
        made = create_task(config)
        spec, fresh, kept = _with_weights(made.part("model"), converted.weights)
        facts = run_facts(converted.name, made.unit, None, {})
        folder.parent.mkdir(parents=True, exist_ok=True)
        facts = write_saved_model(spec, folder, configs.to_plain(config), facts)
    notes = [*opened.notes, *words.notes, *(of_pooling if found == "encoder" else ())]
    if fresh:
        notes.append(f"the source has no {', '.join(fresh)}: random values, as for training")
    if kept:
        notes.append(f"the model has no {', '.join(kept)}: the weights stay beside it, for a training that starts from it")
    return facts, converted.rows, notes


def export_hugging_face(model, output, setting="--from"):
    """Writes a dense text model in Hugging Face's layout. Converting it back gives the same weights, bit by bit.

    Args:
      model: a trained model, as of bert.load_model.
      output: the folder to write, new or empty.
      setting: what the user calls `model`, for messages.

    Returns:
      ({name: array} of the tensors, the dict in config.json, list of sentences that the user should read).

    Raises:
      ValueError: no model there, or one that has no counterpart in Hugging Face's BERT and ALBERT; names the setting.
      OSError: the folder cannot be written.
    """
    saved = read_saved(zoo(), model, setting)
    data = recipe_data(model)
    try:
        tensors, config = hugging_face(saved.settings, saved.weights, data.get("classes") or ())
    except ValueError as error:
        raise ValueError(f"{setting}={saved.given!r} is not allowed: {error}") from error
    files, notes = {}, []
    if data.get("vocabulary"):
        content = pathlib.Path(data.vocabulary).read_bytes()
        length = saved.settings["max_length"]
        files, config["pad_token_id"] = tokenizer_files(content, data.vocabulary, data.lower_case, length)
    else:
        notes.append("it is saved without its vocabulary, so the folder has none")
    if saved.settings["task"] == "embedding":
        files |= sentence_files(saved.settings["width"], data.get("max_length") or saved.settings["max_length"])
    write_hugging_face(output, tensors, {"config.json": config, **files}, "--output")
    return tensors, config, notes


def _recipe(converted, source, data):
    """The config of a run that could have made the model: a ConfigDict."""
    model = {key: value for key, value in converted.settings.items() if key not in ("task", "features_only")}
    task = converted.settings["task"]
    data = {**data, "max_length": model["max_length"]}
    if task == "classification":
        labels = source.config.get("id2label")
        labels = labels if isinstance(labels, dict) else {}
        names = tuple(str(labels.get(str(i), f"LABEL_{i}")) for i in range(model["classes"]))
        classes = (SCORE_NAME,) if len(names) == 1 else names
        config = recipes.classification_recipe("bert_base", model, {**data, "classes": classes, "pairs": False}, {})
    elif task == "span":
        longest = min(384, model["max_length"])
        question = min(64, longest // 4)
        stride = min(128, longest - question - 3)
        data |= {"max_length": longest, "max_query_length": question, "doc_stride": stride, "questions": 0}
        config = recipes.squad_recipe("bert_base", model, data, {})
    elif task == "pretraining":
        config = recipes.pretraining_recipe("bert_base", model, {**data, "predictions": 1}, {})
    else:
        data["max_length"] = min(longest_text(source.folder) or model["max_length"], model["max_length"])
        config = recipes.embedding_recipe("bert_base", model, {**data, "pairs": False}, {})
    config.name = converted.name
    return config


def _with_weights(spec, weights):
    """Gives the model of an ExportSpec its weights.

    Weights that the model has no place for, such as the pooler of an embedding, stay in the SavedModel beside it: a training that
    starts from it takes them.

    Returns:
      (the spec; names of layers for which the source has no weights; those of layers that stay beside the model).
    """
    left = dict(weights)
    fresh = []
    for weight in spec.model.weights:
        name = plain_name(weight.name)
        if name in left:
            weight.assign(left.pop(name))
        else:
            fresh.append(name)
    return keep_weights(spec, left), _layers(fresh), _layers(left)


def _layers(names):
    """The names of the layers that weights with these full names belong to, in their order."""
    return list(dict.fromkeys(name.partition("/")[0] for name in names))


def _boolean(text):
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be true or false")
    return text == "true"


def main(argv=None):
    parser, untold = conversion_parser("bert.convert", __doc__, "its family and size, such as bert_l6_h384", "encoder.bert")
    parser.add_argument("--task", help=f"{', '.join(TASKS)} (default: that of the source's head, or embedding)")
    parser.add_argument("--vocabulary", metavar="FILE", help="vocab.txt or SentencePiece .model (default: beside the weights)")
    casing = "casing of the vocabulary (default: as files there say)"
    parser.add_argument("--lower_case", type=_boolean, metavar="{true,false}", help=casing)
    untold.add_argument("--depth", type=positive, help="number of blocks, of an ALBERT")
    run_conversion(parser, convert_model, export_hugging_face, argv)


if __name__ == "__main__":
    main()
