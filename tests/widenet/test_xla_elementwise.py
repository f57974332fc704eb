"""Where XLA compiles elementwise functions, and that exported graphs do not know of it."""

import collections
import contextlib
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import vision
from tests.graphs import graph_def_of, xla_calls
from widenet import fast_path
from widenet.fast_path import compiles_elementwise, elementwise, in_xla, xla_elementwise

TINY = dict(
    depth=1, width=8, heads=2, ffn_dim=12, expert_dim=12, num_experts=2, image_size=4, patch_size=2, channels=1, classes=3
)


@pytest.fixture(autouse=True)
def compile_however_small(monkeypatch):
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 0)


@elementwise
def double(x):
    return 2 * x


def test_only_inside_the_scope():
    assert not compiles_elementwise()
    with xla_elementwise():
        assert compiles_elementwise()
        with xla_elementwise(False):
            assert not compiles_elementwise()
        assert compiles_elementwise()
    assert not compiles_elementwise()


def test_the_scope_decides_for_each_call():
    def outside(x):
        return double(x)

    def inside(x):
        with xla_elementwise():
            return double(x)

    x = tf.constant([1.0, 2.0])
    assert xla_calls(graph_def_of(outside, x)) == []
    assert xla_calls(graph_def_of(inside, x)) != []
    np.testing.assert_array_equal(tf.function(inside)(x), [2, 4])


def test_only_what_is_large_enough(monkeypatch):
    """Of tensors whose size is known; one that is not is taken for large."""
    monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", 4)

    @tf.function(input_signature=[tf.TensorSpec([None])])
    def of_unknown_size(x):
        with xla_elementwise():
            return double(x)

    def of_known_size(x):
        with xla_elementwise():
            return double(x)

    assert xla_calls(graph_def_of(of_known_size, tf.ones(3))) == []
    assert xla_calls(graph_def_of(of_known_size, tf.ones(4))) != []
    assert xla_calls(of_unknown_size.get_concrete_function().graph.as_graph_def()) != []


def test_a_gradient_follows_its_forward_pass():
    """It may be taken after the scope has ended, as with a tape around a model."""
    with xla_elementwise():
        variant = double.for_size(1)
    assert xla_calls(graph_def_of(variant, tf.constant(1.0))) != []
    assert xla_calls(graph_def_of(double.for_size(1), tf.constant(1.0))) == []


def test_nothing_is_nested_where_xla_compiles_everything():
    seen = []

    @tf.function(jit_compile=True)
    def whole(x):
        with xla_elementwise():
            seen.append((in_xla(), compiles_elementwise()))
            return double(x)

    whole(tf.constant(1.0))
    assert seen == [(True, False)]
    assert not in_xla()


def tiny_model(**overrides):
    model = vision.create_model("widenet_ti16", **{**TINY, **overrides})
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def batch(size=4):
    return tf.random.stateless_normal([size, 4, 4, 1], [0, 0]), tf.range(size) % 3


@pytest.mark.further_cases
@pytest.mark.parametrize("step", ["train_step", "test_step", "predict_step"])
def test_the_model_s_steps_compile_what_they_know_the_size_of(step):
    """Training compiles where the batch size is not known too; elsewhere batches of many sizes may come."""
    step_function = getattr(tiny_model(), step)
    known = batch() if step != "predict_step" else batch()[0]
    assert xla_calls(graph_def_of(step_function, known)) != []
    unknown = tf.nest.map_structure(lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), known)
    assert (xla_calls(graph_def_of(step_function, unknown)) != []) == (step == "train_step")


def compiled_calls(function, *arguments):
    """How often a graph calls each compiled function, by name without its number."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    compiled = {f.signature.name for f in graph.as_graph_def().library.function if f.attr["_XlaMustCompile"].b}
    names = [call.get_attr("f").name for call in graph.get_operations() if call.type.endswith("PartitionedCall")]
    return collections.Counter(re.sub(r"_\d+$", "", name) for name in names if name in compiled)


def own_step(model):
    """A training step without `fit`: a function of a batch."""

    def step(images, labels):
        with tf.GradientTape() as tape:
            losses = tf.keras.losses.sparse_categorical_crossentropy(labels, model(images, training=True), from_logits=True)
            loss = tf.reduce_mean(losses) + tf.add_n(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    return step


@pytest.mark.further
def test_a_loop_of_ones_own_compiles_what_fit_does():
    """In the replicas of a strategy too, each of which has a thread of its own."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        on_replicas = tiny_model()
        on_replicas.optimizer.build(on_replicas.trainable_variables)
    model = tiny_model()
    for size in (4, None):
        specs = [tf.TensorSpec([size, 4, 4, 1]), tf.TensorSpec([size], tf.int32)]
        in_fit = compiled_calls(lambda *batch: model.train_step(batch), *specs)
        assert in_fit and compiled_calls(own_step(model), *specs) == in_fit
    step = own_step(on_replicas)
    replicated = compiled_calls(lambda *batch: strategy.run(step, batch), *specs)
    assert replicated == {name: 2 * calls for name, calls in in_fit.items()}


@pytest.mark.further
def test_only_training_calls_compile_by_themselves():
    """And only where nothing else is said: an export may have been made of any other graph."""
    model, (images, _) = tiny_model(), batch()
    assert xla_calls(graph_def_of(lambda x: model(x, training=True), images)) != []
    for scope, settings in (
        (contextlib.nullcontext(), {}),
        (contextlib.nullcontext(), {"training": False}),
        (xla_elementwise(False), {"training": True}),
        (model.export_scope(), {"training": True}),
    ):
        with scope:
            assert xla_calls(graph_def_of(lambda x, settings=settings: model(x, **settings), images)) == []


def test_predict_equals_a_call():
    """In whole batches and with a smaller one at the end, to float32's accuracy."""
    model = tiny_model()
    images, _ = batch(10)
    expected = model(images)
    np.testing.assert_allclose(model.predict(images, batch_size=4, verbose=0), expected, atol=1e-5)
    known = tf.data.Dataset.from_tensors(images)
    np.testing.assert_allclose(model.predict(known, verbose=0), expected, atol=1e-5)


@pytest.fixture(scope="module")
def used_model():
    """A model that was trained, evaluated and asked, all with compiled functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_path, "COMPILED_ELEMENTS", 0)
        model = tiny_model(dropout=0.1)
        known = tf.data.Dataset.from_tensors(batch())
        model.fit(known, verbose=0)
        model.evaluate(known, verbose=0)
        model.predict(known, verbose=0)
    return model


@pytest.mark.further_cases
@pytest.mark.parametrize("how", ["export", "saved_model", "keras"])
def test_exported_graphs_carry_no_xla_call(tmp_path, how, used_model):
    """TF Serving, ONNX and TFLite refuse them; with all that Keras saves beside its signature."""
    model = used_model
    if how == "saved_model":
        tf.saved_model.save(model, str(tmp_path / "model"))
    elif how == "keras":
        model.save(tmp_path / "model", save_format="tf")
    else:
        model.export(str(tmp_path / "model"))
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((tmp_path / "model" / "saved_model.pb").read_bytes())
    assert len(saved.meta_graphs[0].graph_def.library.function) > 2
    assert [call for graph in saved.meta_graphs for call in xla_calls(graph.graph_def)] == []


@pytest.mark.further
def test_a_saved_model_can_be_trained(tmp_path):
    """The custom gradients are saved with it: in a training call the gradients are those of the model it was saved from."""
    model = tiny_model(capacity_factor=None)
    module = tf.Module()
    module.model = model
    module.call = tf.function(
        lambda images: model(images, training=True), input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32)]
    )
    for layer in model.submodules:
        if hasattr(layer, "noise"):
            layer.noise = False
    images, _ = batch()

    def gradients(call, variables):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(call(images) ** 2)
        return {v.name: g for v, g in zip(variables, tape.gradient(total, variables), strict=True)}

    expected = gradients(module.call, model.trainable_variables)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    got = gradients(loaded.call, loaded.model.trainable_variables)
    assert expected.keys() == got.keys() and len(got) > 20
    for name in expected:
        # 1e-6 of the largest: the same graph, whose constants may be folded otherwise.
        np.testing.assert_allclose(got[name], expected[name], atol=1e-6 * max(1, np.max(np.abs(expected[name]))), err_msg=name)


@pytest.mark.further
def test_no_function_is_compiled_again_for_another_routing(monkeypatch):
    """Neither where tensors are large nor where they are too small to be compiled: compiled functions see one shape each."""
    for elements in (0, 10**9):
        monkeypatch.setattr(fast_path, "COMPILED_ELEMENTS", elements)
        model = tiny_model(depth=2)
        data = tf.data.Dataset.from_tensors(batch()).repeat()
        train = tf.function(model.train_step).get_concrete_function(next(iter(data)))
        graph = train.graph.as_graph_def()
        compiled_functions = {f.signature.name for f in graph.library.function if f.attr["_XlaMustCompile"].b}
        calls = [operation for operation in train.graph.get_operations() if operation.type.endswith("PartitionedCall")]
        shapes = [x.shape for call in calls if call.get_attr("f").name in compiled_functions for x in call.inputs]
        assert bool(shapes) == (elements == 0)
        assert all(shape.is_fully_defined() for shape in shapes)


@pytest.mark.further
def test_an_unknown_batch_size_trains_as_a_known_one():
    """`fit` on arrays does not know its batch size while the graph is made."""
    results = []
    for dataset in (
        tf.data.Dataset.from_tensors(batch()),
        tf.data.Dataset.from_tensor_slices(batch()).batch(4),
    ):
        tf.keras.utils.set_random_seed(0)
        model = tiny_model()
        for layer in model.submodules:
            if hasattr(layer, "noise"):
                layer.noise = False
        model.fit(dataset, verbose=0)
        results.append(model.get_weights())
    for known, unknown in zip(*results, strict=True):
        np.testing.assert_allclose(known, unknown, atol=1e-6)  # float32, other fusions
