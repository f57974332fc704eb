"""What one stack writes for the other, and what the other makes of it, each in a process of its stack's Python:

    python -m tests.across_stacks write FOLDER
    python -m tests.across_stacks read FOLDER

The second one prints, as JSON in its last line, {item: the largest difference from what the first one computed, or an error}.
"""

import functools
import json
import pathlib
import shutil
import sys
import traceback

import numpy as np
import tensorflow as tf

import bert
import official.hub
import vision
from bert.configs import text_file
from official import publish, train
from official.checkpoints.manager import replace_checkpoint
from official.config import train_settings
from official.files.layout import CHECKPOINTS, METRICS_CSV, SAVED_MODEL, SUMMARY_JSON, TENSORBOARD
from official.files.tables import read_table
from official.training.optimizers import create_optimizer
from tests.bert.batches import FEW_EXPERTS, random_batch, randomize
from tests.bert.prepared_texts import TINY_TEXT, write_jsonl, write_vocabulary
from tests.official.tiny import tiny_config, without_export

# With experts, but without noise or dropout: everything random follows from the seed and the step.
STILL = {"model.num_experts": 2, "model.noise": False, "model.dropout": 0.0, "model.attention_dropout": 0.0}
STEPS = dict(steps=6, eval_every=3, warmup_steps=2, best="")
STOPPED_AT = 3
RUNS = ("images", "texts")
TEXTS = ("a good film", "bad", "a film", "good good bad film")
IMAGE_SETTINGS = dict(depth=2, width=16, heads=2, ffn_dim=24, num_experts=2, expert_dim=24, image_size=8, patch_size=4)
IMAGE_SETTINGS |= dict(channels=1, classes=3, noise=False)
TEXT_SETTINGS = dict(FEW_EXPERTS, classes=3, noise=False, dropout=0.0, attention_dropout=0.0)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(6) % 3
WORDS = random_batch(lengths=(7, 5, 2, 7, 4, 1))
FORMS = {".keras": "keras", ".h5": "h5", "": "tf"}  # of the first Keras model; "" is a folder, Keras's form of a SavedModel
WEIGHTS = (".weights.h5", ".h5", "")  # of a Keras model's weights; "" is a checkpoint of TensorFlow


def config(name, folder):
    """The recipe of a run, whose texts lie in the folder."""
    if name == "images":
        return tiny_config(STILL, optimizer="lamb", **STEPS)
    recipe = text_file.get_config()
    files = {f"data.{split}_file": str(folder / "texts.jsonl") for split in ("train", "validation")}
    recipe.update_from_flattened_dict(
        {**TINY_TEXT, **STILL, **files, "data.vocabulary": str(folder / "vocab.txt"), "train.optimizer": "adamw"}
        | {f"train.{key}": value for key, value in STEPS.items()}
    )
    return recipe


def models():
    """{name: (a model with the weights of an own seed, inputs, optimizer or None)}: what Keras saves and loads."""

    def image(**more):
        return randomize(vision.create_model("widenet_ti16", **IMAGE_SETTINGS | more))

    def own(model):
        """Keras code around a model: a plain Keras model with an operation of TensorFlow and another layer."""
        inputs = tf.keras.Input((8, 8, 1))
        return tf.keras.Model(inputs, tf.keras.layers.Dense(3, name="head")(model(inputs * 0.5)))

    def optimizer(name):
        return create_optimizer(train_settings(optimizer=name, lr=0.01, steps=9, warmup_steps=2))

    def text():
        return randomize(bert.create_model("widenet_tiny_e4", "classification", **TEXT_SETTINGS))

    tf.keras.utils.set_random_seed(0)  # of the head of `own`
    return {
        "image": (image(), IMAGES, None),
        "image_lamb": (image(), IMAGES, optimizer("lamb")),
        "around_image_adam": (own(image(classes=0)), IMAGES, tf.keras.optimizers.Adam(0.01)),
        "text": (text(), WORDS, None),
        "text_adamw": (text(), WORDS, optimizer("adamw")),
    }


def more_steps(model, inputs, epochs):
    model.fit(inputs, LABELS, batch_size=3, epochs=epochs, shuffle=False, verbose=0)


def state_of(run):
    """Weights, step counter and moments of a run, by name."""
    return {variable.name: variable.numpy() for variable in (*run.model.weights, *run.model.optimizer.variables())}


def losses_of(workdir):
    rows = read_table(workdir / METRICS_CSV)
    return {key: np.array([float(row[key]) for row in rows]) for key in ("step", "loss", "val_loss", "val_accuracy", "balance")}


def served(model, name):
    """Of an exported model's first endpoint, which decodes PNG files, or which has the tokenizer."""
    pngs = [tf.io.encode_png(image).numpy() for image in ((IMAGES + 1) * 127).astype(np.uint8)]
    given = tf.constant(pngs if name == "images" else TEXTS)
    return {"probabilities": model.signatures["serving_default"](given)["probabilities"]}


def write(folder):
    write_vocabulary(folder / "vocab.txt", ("good", "bad", "film", "a"))
    write_jsonl(folder / "texts.jsonl", *[{"text": f"a {label} film", "label": label} for label in ("good", "bad") * 8])
    for name in RUNS:
        workdir = folder / name
        run = train.Run(config(name, folder), workdir)
        run.train()
        np.savez(folder / f"{name}_state.npz", **state_of(run))
        publish.publish(workdir / SAVED_MODEL, folder / "repository", f"me/{name}/tiny/1")
        np.savez(folder / f"{name}_served.npz", **served(tf.saved_model.load(str(workdir / SAVED_MODEL)), name))
        # The same run as if it had been stopped.
        stopped = folder / f"{name}_stopped"
        shutil.copytree(workdir, stopped, ignore=shutil.ignore_patterns(CHECKPOINTS, SAVED_MODEL, SUMMARY_JSON, TENSORBOARD))
        replace_checkpoint(stopped / CHECKPOINTS, workdir / CHECKPOINTS / f"step-{STOPPED_AT}")
    for name, (model, inputs, optimizer) in models().items():
        if optimizer:
            model.compile(optimizer, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
            more_steps(model, inputs, epochs=2)
        else:
            for ending in WEIGHTS:
                model.save_weights(folder / f"{name}_weights{ending}")
            np.savez(folder / f"{name}_weights.npz", **{weight.name: weight.numpy() for weight in model.weights})
        for ending, form in FORMS.items():
            if ending == ".keras" or name == "image":
                model.save(folder / f"{name}{ending}", save_format=form)
        np.save(folder / f"{name}_answer.npy", model(inputs, training=False))
        if optimizer:
            more_steps(model, inputs, epochs=1)
            np.savez(folder / f"{name}_later.npz", *model.get_weights())


def largest(found, expected):
    """The largest difference of two dicts of arrays with the same keys and shapes."""
    assert set(found) == set(expected), f"only in one of them: {sorted(set(found) ^ set(expected))}"
    found = {key: np.asarray(value) for key, value in found.items()}
    for key, value in found.items():
        assert value.shape == expected[key].shape, f"{key}: {value.shape} and {expected[key].shape}"
    return highest(abs(value.astype(np.float64) - expected[key]).max() for key, value in found.items())


def highest(numbers):
    """NaN if one of the numbers is."""
    return float(np.max([*numbers]))


def resumed(folder, name):
    """A run that the other stack began, finished here, against the same run that the other stack finished."""
    stopped = folder / f"{name}_stopped"
    run = train.Run(config(name, folder), stopped)
    assert run.first_step == STOPPED_AT
    with without_export():
        run.train()
    of_losses = largest(losses_of(stopped), losses_of(folder / name))
    return highest([of_losses, largest(state_of(run), dict(np.load(folder / f"{name}_state.npz")))])


def answers(folder, name, load):
    """Of an exported model, which `load` returns."""
    return largest(served(load(), name), dict(np.load(folder / f"{name}_served.npz")))


def weights(folder, name, package, source):
    """Of the model that `load_model` builds from a run, a handle or an export."""
    state = dict(np.load(folder / f"{name}_state.npz"))
    found = {weight.name: weight.numpy() for weight in package.load_model(source).weights}
    return largest(found, {name: state[name] for name in found})


def loaded(folder, name, path, inputs, optimizer):
    """Of a file that Keras saved; with an optimizer [that, of the weights after further steps, which depend on its moments]."""
    model = tf.keras.models.load_model(path)
    assert isinstance(model, tf.keras.Model), type(model)
    difference = differs(folder, name, model, inputs)
    if not optimizer:
        return difference
    assert type(model.optimizer) is type(optimizer)
    more_steps(model, inputs, epochs=1)
    later = np.load(folder / f"{name}_later.npz")
    return [difference, highest(abs(weight - later[f"arr_{i}"]).max() for i, weight in enumerate(model.get_weights()))]


def loaded_weights(folder, name, model, inputs, path):
    """Of a model whose weights are read; first they are all zero."""
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    if path.endswith(".npz"):
        arrays = np.load(path)
        assert {weight.name for weight in model.weights} == set(arrays)
        for weight in model.weights:
            weight.assign(arrays[weight.name])
    else:
        model.load_weights(path)
    return differs(folder, name, model, inputs)


def differs(folder, name, model, inputs):
    answer = np.load(folder / f"{name}_answer.npy")
    return float(abs(model(inputs, training=False) - answer).numpy().max())


def read(folder):
    """Yields (item, function, arguments) of all that the other stack wrote."""
    for name, package in zip(RUNS, (vision, bert), strict=True):
        workdir, handle = folder / name, f"me/{name}/tiny/1"
        yield f"{name}: run", resumed, name
        yield f"{name}: export", answers, name, functools.partial(tf.saved_model.load, str(workdir / SAVED_MODEL))
        yield f"{name}: handle", answers, name, functools.partial(official.hub.load, handle)
        for kind, source in {"a run": workdir, "a handle": handle, "an export": workdir / SAVED_MODEL}.items():
            yield f"{name}: load_model of {kind}", weights, name, package, source
    for name, (model, inputs, optimizer) in models().items():
        for ending, form in FORMS.items():
            if ending == ".keras" or name == "image":
                steps = " and steps" if optimizer else ""
                yield f"{name}: {form}{steps}", loaded, name, f"{folder / name}{ending}", inputs, optimizer
        for ending in () if optimizer else (*WEIGHTS, ".npz"):
            yield f"{name}: weights{ending}", loaded_weights, name, model, inputs, f"{folder / name}_weights{ending}"


def main(command, folder):
    report = {}
    if command == "write":
        write(folder)
    else:
        for item, function, *arguments in read(folder):
            try:
                report[item] = function(folder, *arguments)
            except Exception:
                report[item] = traceback.format_exc(limit=-3)
        report["second_keras"] = tf.keras.Model.__module__.startswith("keras.") and "tf_keras" in sys.modules
    print(json.dumps({"tensorflow": tf.__version__, **report}))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
