"""Saved Keras models in a process that has imported nothing of this project but `vision` and `bert`.

Unlike this one, such a process may import tf_keras, which TensorFlow Hub brings along.
"""

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf

import bert
import vision
from official.config import train_settings
from official.training.optimizers import create_optimizer, create_state
from tests.bert.batches import FEW_EXPERTS, random_batch, randomize
from tests.test_imports import fresh

TINY = dict(depth=2, width=16, heads=2, ffn_dim=24, num_experts=2, expert_dim=24, image_size=8, patch_size=4, channels=1)
FORMS = {"model.keras": "keras", "saved_model": "tf", "model.h5": "h5"}
WEIGHTS = ("new.weights.h5", "old_weights.h5", "weights")  # the last is TensorFlow's form, a checkpoint
NEEDS_TF_KERAS = pytest.mark.skipif(
    not tf.keras.Model.__module__.startswith("tf_keras"),
    reason="with TensorFlow 2.15 tf_keras is a second Keras, whose classes take the place of Keras's own in all that is loaded",
)
LOAD = """
import importlib, json
answers = {{}}
for package, files in json.loads({files!r}).items():
    module = importlib.import_module(package)
    {more}
    import numpy as np, tensorflow as tf
    assert package == "bert" or tf.keras.saving.get_registered_object("vision>Preprocessor")
    arrays = dict(np.load(files.pop("inputs")))
    for path, created in files.items():
        if created:
            model = module.create_model(*created[0], **created[1])
            model.load_weights(path)
        else:
            model = tf.keras.models.load_model(path)
        answer = model.predict(arrays if package == "bert" else arrays["images"], verbose=0)
        again = tf.keras.models.model_from_json(model.to_json())
        kinds = [type(each).__module__ for each in (model.get_layer("embedding"), model.get_layer("encoder"), model, again)]
        state = [type(model.optimizer).__name__, int(model.optimizer.iterations)] if model.optimizer else None
        answers[path] = [kinds, state, answer.tolist()]
print(json.dumps(answers))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "packages, more, forms",
    [
        pytest.param(["vision", "bert"], "", ["model.keras"], marks=pytest.mark.smoke),
        (["bert", "vision"], "", ["saved_model", "model.h5", *WEIGHTS]),
        (["bert", "vision"], "import keras", ["model.keras"]),  # Keras imports TensorFlow halfway through its own import
        pytest.param(["vision", "bert"], "import tf_keras", ["model.keras"], marks=NEEDS_TF_KERAS),  # this too
        (["vision", "bert"], "import vision.decoding", ["model.keras"]),  # imports TensorFlow before it is a module itself
    ],
)
def test_loads_after_import_of_the_package_alone(tmp_path, packages, more, forms):
    """The first before TensorFlow is imported, the second after it: layers, model and optimizer are what they were.

    A SavedModel has no state of these optimizers, which a warning says: they start anew.
    """
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    created = {
        "vision": (vision, ["widenet_ti16"], TINY, dict(images=images)),
        "bert": (bert, ["widenet_tiny_e4", "classification"], FEW_EXPERTS, random_batch()),
    }
    optimizers = {"vision": ("lamb", "cosine", "LAMB"), "bert": ("adamw", "linear", "AdamW")}
    files, expected = {}, {}
    for package in packages:
        module, names, settings, inputs = created[package]
        model = randomize(module.create_model(*names, **settings))
        optimizer, schedule, kind = optimizers[package]
        model.compile(create_optimizer(train_settings(optimizer=optimizer, schedule=schedule)), "mse")
        create_state(model.optimizer, model.trainable_weights)
        model.optimizer.iterations.assign(5)
        answer = model.predict(inputs if package == "bert" else images, verbose=0)
        np.savez(tmp_path / f"{package}.npz", **inputs)
        files[package] = {"inputs": str(tmp_path / f"{package}.npz")}
        for form in forms:
            path = str(tmp_path / f"{package}_{form}")
            is_stateless = form == "saved_model"
            with pytest.warns(UserWarning, match="no state of the optimizer") if is_stateless else contextlib.nullcontext():
                model.save_weights(path) if form in WEIGHTS else model.save(path, save_format=FORMS[form])
            files[package][path] = [names, settings] if form in WEIGHTS else None
            state = None if form in WEIGHTS else [kind, 0 if is_stateless else 5]
            expected[path] = ["vision.embedding" if package == "vision" else "bert.layers", state, answer]
    found = fresh(LOAD.format(files=json.dumps(files), more=more))
    assert found.keys() == expected.keys()
    for path, (kinds, state, answer) in found.items():
        embedding, expected_state, expected_answer = expected[path]
        assert kinds == [embedding, "widenet.encoder", "widenet.model", "widenet.model"]
        assert state == expected_state
        np.testing.assert_allclose(answer, expected_answer, atol=1e-5, err_msg=path)
