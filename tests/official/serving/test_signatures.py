"""The signature of a SavedModel that other runtimes can run."""

import pytest
import tensorflow as tf

from official.serving.signatures import numeric_signature

NUMBERS = tf.TensorSpec([None, 2], tf.float32, name="x")
TEXTS = tf.TensorSpec([None], tf.string, name="text")


def save(folder, **signatures):
    """A SavedModel with a signature for each {name: (function, spec)}."""
    module = tf.Module()
    functions = {name: tf.function(function, input_signature=[spec]) for name, (function, spec) in signatures.items()}
    for name, function in functions.items():
        setattr(module, f"of_{name}", function)
    tf.saved_model.save(module, str(folder), {name: function.get_concrete_function() for name, function in functions.items()})
    return folder


def doubled(x):
    return {"y": 2 * x}


def counted(text):
    return {"length": tf.strings.length(text)}


def named(x):
    return {"name": tf.strings.as_string(x)}


def test_the_only_one_of_numbers(tmp_path):
    """Signatures with strings do not count, and neither does the alias that every SavedModel has."""
    texts, names = (counted, TEXTS), (named, NUMBERS)
    save(tmp_path / "m", serving_default=(doubled, NUMBERS), serve=(doubled, NUMBERS), classify=texts, label=names)
    found = numeric_signature(tmp_path / "m")
    assert (found.name, found.inputs, list(found.outputs), found.path) == ("serve", {"x": NUMBERS}, ["y"], str(tmp_path / "m"))
    assert found({"x": [[1, 2], [3, 4]]})["y"].tolist() == [[2, 4], [6, 8]]
    assert numeric_signature(tmp_path / "m", "serving_default").name == "serving_default"


def test_the_alias_alone(tmp_path):
    assert numeric_signature(save(tmp_path / "m", serving_default=(doubled, NUMBERS))).name == "serving_default"


def test_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing is not a SavedModel"):
        numeric_signature(tmp_path / "nothing")
    texts = save(tmp_path / "texts", serve=(counted, TEXTS))
    with pytest.raises(ValueError, match="must have one signature that takes and gives numbers, and has only serve"):
        numeric_signature(texts)
    several = save(tmp_path / "several", a=(doubled, NUMBERS), b=(doubled, NUMBERS), c=(counted, TEXTS))
    with pytest.raises(ValueError, match=r"has several \(a, b\): name one"):
        numeric_signature(several)
    with pytest.raises(ValueError, match="signature='c' is not allowed: it must be one of a, b; it takes or gives strings"):
        numeric_signature(several, "c")
    with pytest.raises(ValueError, match="signature='d' is not allowed: it must be one of a, b; .*several has no such signature"):
        numeric_signature(several, "d")


def test_compute_dtypes(tmp_path):
    """Those of matrix products, also in inner functions of the graph."""
    inner = tf.function(lambda x: tf.matmul(tf.cast(x, tf.bfloat16), tf.ones([2, 2], tf.bfloat16)))

    def mixed(x):
        return {"y": tf.cast(inner(x), tf.float32) + tf.matmul(x, tf.ones([2, 2]))}

    assert numeric_signature(save(tmp_path / "m", serve=(mixed, NUMBERS))).compute_dtypes == {tf.bfloat16, tf.float32}
    assert numeric_signature(save(tmp_path / "n", serve=(doubled, NUMBERS))).compute_dtypes == set()
