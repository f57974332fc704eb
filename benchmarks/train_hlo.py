"""The training step of a model as a TPU core gets it, as HLO: python -m benchmarks.train_hlo PROGRAM JSON

JSON has the arguments of `compiled_model`. Beside PROGRAM, PROGRAM.json has facts about it (`write`).
"""

import argparse
import json
import pathlib

import tensorflow as tf
from tensorflow.python.framework.auto_control_deps_utils import get_read_only_resource_input_indices_graph

import vision
from bert.configs import pretraining
from bert.masked_lm.loss import MaskedLMAccuracy, MaskedLMLoss
from bert.masked_lm.settings import check_data_settings
from bert.models import build_model as build_text_model
from official.training.optimizers import create_optimizer, create_state
from vision.configs import imagenet
from vision.models import build_model as build_image_model


def compiled_model(name, batch, precision="mixed_bfloat16", **settings):
    """A model of the zoo with the paper's pretraining, and what one core gets in a step.

    Args:
      name: of vision.list_models() or bert.list_models().
      batch: examples of a core.
      precision: Keras policy.
      **settings: of the model to change, or of its data for texts (max_length is both).

    Returns:
      (model, specs): compiled with loss, metrics and optimizer of vision/configs/imagenet.py or bert/configs/pretraining.py, and
      the tf.TensorSpecs of inputs and labels.

    Raises:
      ValueError: an unknown name or setting.
    """
    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    make = _image_model if name in vision.list_models() else _text_model
    model, specs, losses, config = make(name, batch, settings)
    optimizer = create_optimizer(config.train)
    create_state(optimizer, model.trainable_weights)
    model.compile(optimizer, *losses)
    model.seed_steps(config.train.seed)
    return model, specs


def _image_model(name, batch, settings):
    config = imagenet.get_config(name)
    config.model.update({"classes": 1000, **settings})
    model = build_image_model(name=name, **config.model)
    specs = tf.TensorSpec([batch, *model.input_shape[1:]]), tf.TensorSpec([batch, model.output_shape[-1]])
    losses = tf.keras.losses.CategoricalCrossentropy(from_logits=True), [tf.keras.metrics.CategoricalAccuracy()]
    return model, specs, losses, config


def _text_model(name, batch, settings):
    config = pretraining.get_config(name)
    config.model.update({"vocab_size": 30000, **settings})
    config.data.max_length = config.model.max_length
    check_data_settings(config.data)
    model = build_text_model(name=name, task="pretraining", **config.model)
    ids = tf.TensorSpec([batch, config.data.max_length], tf.int32)
    places = tf.TensorSpec([batch, config.data.predictions], tf.int32)
    inputs = {"input_word_ids": ids, "input_mask": ids, "input_type_ids": ids, "masked_lm_positions": places}
    labels = {"mlm_logits": places, "next_sentence": tf.TensorSpec([batch], tf.int32)}
    losses = (
        {"mlm_logits": MaskedLMLoss(), "next_sentence": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        {"mlm_logits": [MaskedLMAccuracy()], "next_sentence": [tf.keras.metrics.SparseCategoricalAccuracy()]},
    )
    return model, (inputs, labels), losses, config


class Step:
    """A training step that XLA compiles as a whole.

    Args:
      model, specs: of `compiled_model`.

    Attributes:
      function: the tf.function of the tensors of inputs and labels, in the order of tf.nest.flatten; returns the logs.
      program: bytes, its HLO as TensorFlow hands it to XLA. The arguments are inputs and labels, then `variables`; the outputs
        are the logs, then the variables that the step changes.
      variables: list of tf.Variable.
      replaced: list of (output, argument): the new value of a variable and the old one.
    """

    def __init__(self, model, specs):
        flat = tf.nest.flatten(specs)
        # Of separate tensors, since TensorFlow gives no program of a function of a dict.
        self.function = tf.function(lambda *parts: model.train_step(tf.nest.pack_sequence_as(specs, parts)), jit_compile=True)
        concrete = self.function.get_concrete_function(*flat)
        self.program = self.function.experimental_get_compiler_ir(*flat)(stage="hlo_serialized")
        places = {id(handle): number for number, handle in enumerate(concrete.captured_inputs)}
        inputs = len(concrete.inputs) - len(places)
        by_place = {places[id(variable.handle)]: variable for variable in concrete.graph.variables}
        self.variables = [by_place[place] for place in range(len(places))]
        unchanged = set(get_read_only_resource_input_indices_graph(concrete.graph))
        changed = [place for place in range(inputs, len(concrete.inputs)) if place not in unchanged]
        logs = len(tf.nest.flatten(concrete.structured_outputs))
        self.replaced = [(logs + number, argument) for number, argument in enumerate(changed)]


def write(path, model, specs):
    """Writes the program, and beside it path.json: `replaced`, and the model's `parameters`."""
    step, path = Step(model, specs), pathlib.Path(path)
    path.write_bytes(step.program)
    path.with_name(f"{path.name}.json").write_text(json.dumps({"replaced": step.replaced, "parameters": model.count_params()}))
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("settings", type=json.loads)
    given = parser.parse_args()
    write(given.program, *compiled_model(**given.settings))


if __name__ == "__main__":
    main()
