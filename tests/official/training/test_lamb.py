"""LAMB's compiled update is that of the LAMB below it; TensorFlow Addons stay behind one file."""

import ast
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official.training.optimizers import COMPILED_ELEMENTS, EXCLUDED, LAMB, bases, create_schedule

ROOT = pathlib.Path(__file__).parents[3]


def test_only_one_file_imports_addons():
    """TensorFlow Addons is at its end of life: one file to change when it goes."""
    importers = set()
    for path in ROOT.rglob("*.py"):
        inside = path.relative_to(ROOT)
        if inside.parts[0] in (".venv", "runs", "tests") or inside.parts[0].startswith("."):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "tensorflow_addons" for name in names):
                importers.add(inside.as_posix())
    assert importers == {"official/training/optimizers.py"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 2e-6)])
def test_compiled_update_is_that_of_plain_operations(dtype, tolerance):
    """Twenty steps of a large adapted, a large excluded and a small weight; float32 differs by the order of a norm's sum."""
    shapes = {"kernel": (COMPILED_ELEMENTS // 256, 256), "wide/bias": (COMPILED_ELEMENTS,), "small/kernel": (3, 4)}
    random = np.random.default_rng(0)
    start = [random.normal(size=shape) for shape in shapes.values()]
    gradients = [[random.normal(size=shape) for shape in shapes.values()] for _ in range(20)]
    results = []
    for kind in (LAMB, bases.LAMB):
        weights = [tf.Variable(value, dtype=dtype, name=name) for name, value in zip(shapes, start, strict=True)]
        optimizer = kind(
            create_schedule(0.01, 20, 5),
            weight_decay=0.1,
            exclude_from_weight_decay=EXCLUDED,
            exclude_from_layer_adaptation=EXCLUDED,
            global_clipnorm=1.0,
        )
        apply = tf.function(lambda *given, o=optimizer, w=weights: o.apply_gradients(zip(given, w, strict=True)) and None)
        for step in gradients:
            apply(*[tf.constant(gradient, dtype) for gradient in step])
        results.append([value.numpy() for value in (*weights, *optimizer.variables())])
    assert issubclass(LAMB, bases.LAMB)
    assert not np.allclose(results[0][0], start[0], atol=0.01)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
