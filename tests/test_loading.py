"""Saved Keras models in a process that has imported nothing of this project but `vision` and `bert`."""

import json

import numpy as np
import pytest

import bert
import vision
from tests.bert.batches import FEW_EXPERTS, random_batch, randomize
from tests.test_imports import fresh

TINY = dict(depth=2, width=16, heads=2, ffn_dim=24, num_experts=2, expert_dim=24, image_size=8, patch_size=4, channels=1)
FORMS = {"model.keras": "keras", "saved_model": "tf", "model.h5": "h5"}
LOAD = """
import json, sys
{imports}
import numpy as np, tensorflow as tf
answers = {{}}
assert tf.keras.saving.get_registered_object("vision>Preprocessor")
for path, inputs in json.loads({paths!r}).items():
    model = tf.keras.models.load_model(path)
    arrays = np.load(inputs)
    batch = dict(arrays) if len(arrays) > 1 else arrays["images"]
    outputs = model.predict(batch, verbose=0)
    kinds = [type(model.get_layer(name)).__module__ for name in ("embedding", "encoder")]
    answers[path] = [kinds, np.asarray(outputs).tolist()]
print(json.dumps(answers))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "imports, files",
    [
        pytest.param("import vision, bert", ["model.keras"], marks=pytest.mark.smoke),
        ("import vision, bert", ["saved_model", "model.h5"]),
        ("import vision, bert\nimport keras", ["model.keras"]),  # Keras imports TensorFlow halfway through its own import
        ("import tensorflow\nimport bert, vision", ["model.keras"]),
        ("import vision, bert\nimport vision.decoding", ["model.keras"]),  # imports TensorFlow before it is a module itself
    ],
)
def test_loads_after_import_of_the_packages_alone(tmp_path, imports, files):
    """Before TensorFlow is imported or after it; the layers are what they were, and not merely callable."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    models = {
        "vision": (randomize(vision.create_model("widenet_ti16", **TINY)), dict(images=images)),
        "bert": (randomize(bert.create_model("widenet_tiny_e4", "classification", **FEW_EXPERTS)), random_batch()),
    }
    paths, expected = {}, {}
    for name, (model, inputs) in models.items():
        np.savez(tmp_path / f"{name}.npz", **inputs)
        answer = model.predict(inputs if name == "bert" else images, verbose=0)
        for file in files:
            path = str(tmp_path / f"{name}_{file}")
            model.save(path, save_format=FORMS[file])
            paths[path], expected[path] = str(tmp_path / f"{name}.npz"), answer
    found = fresh(LOAD.format(imports=imports, paths=json.dumps(paths)))
    assert found.keys() == expected.keys()
    for path, (kinds, answer) in found.items():
        assert kinds == ["vision.embedding" if "/vision_" in path else "bert.layers", "widenet.encoder"]
        np.testing.assert_allclose(answer, expected[path], atol=1e-5, err_msg=path)
