"""The model that measures its experts' load: what it logs, what it leaves alone, and two replicas."""

import numpy as np
import pytest
import tensorflow as tf

from tests.widenet import reference
from widenet import Deployment, Encoder, Model, SharedMoE
from widenet.expert_load import recording

DEPTH, LENGTH, WIDTH, EXPERTS = 2, 5, 8, 3


def new_model(model=Model, deployment=None, **kwargs):
    """Tokens [batch, length, D] to the encoder's output, every weight random."""
    settings = {"num_experts": EXPERTS, "noise": False, "capacity_factor": 0.8, "balance_weight": 0.5, **kwargs}
    encoder = Encoder(DEPTH, WIDTH, 2, 6, deployment=deployment or Deployment(), name="encoder", **settings)
    inputs = tf.keras.Input((LENGTH, WIDTH))
    result = model(inputs, encoder(inputs))
    reference.randomize(encoder, scale=0.3)
    return result


def examples(count=8):
    random = np.random.default_rng(0)
    shape = (count, LENGTH, WIDTH)
    return random.normal(size=shape).astype(np.float32), random.normal(size=shape).astype(np.float32)


def by_hand(encoder, batches, training):
    """Loads over batches: (kept [blocks, E], dropped [blocks], balance [blocks], mean over batches of the summed balance)."""
    kept, dropped, balance = np.zeros((DEPTH, EXPERTS)), np.zeros(DEPTH), np.zeros(DEPTH)
    for batch in batches:
        _, calls = reference.encode(encoder, batch.astype(np.float64), training=training)
        for block, call in enumerate(calls):
            kept[block] += np.bincount(call.routing.experts[call.kept], minlength=EXPERTS)
            dropped[block] += np.sum(~call.kept)
            balance[block] += reference.balance_loss(call.routing.probabilities, call.routing.experts) / len(batches)
    return kept, dropped, balance


def assert_table(table, kept, dropped, balance):
    total = np.sum(kept, axis=-1) + dropped
    for block, row in enumerate(table):
        shares = [row[f"expert_{e}"] for e in range(EXPERTS)]
        np.testing.assert_allclose(shares, kept[block] / total[block], atol=1e-6)
        np.testing.assert_allclose(row["dropped"], dropped[block] / total[block], atol=1e-6)
        np.testing.assert_allclose(row["balance"], balance[block], rtol=1e-4)
        assert abs(sum(shares) + row["dropped"] - 1) < 1e-6
    assert len(table) == DEPTH


def assert_metrics(logs, kept, dropped, balance):
    np.testing.assert_allclose(logs["balance"], np.mean(balance), rtol=1e-4)
    np.testing.assert_allclose(logs["dropped"], np.mean(dropped / (np.sum(kept, axis=-1) + dropped)), rtol=1e-4)


def test_blocks_of_another_model_inside_a_step():
    """They are its outputs, and its experts' load is not added to that of the step; a call in training records its own."""
    model, other = new_model(), new_model()
    x = tf.constant(examples()[0])
    with recording() as loads, model.recording_blocks() as own:
        outputs, blocks = other.call_with_blocks(x)
        assert (loads, own) == ([], [])
        trained = model(x, training=True)
    assert (len(loads), len(own), len(blocks)) == (DEPTH, DEPTH, DEPTH)
    assert model.block_widths == [WIDTH] * DEPTH
    for found, records, whole in ((outputs, blocks, other), (trained, own, model)):
        encoder = whole.get_layer("encoder")
        np.testing.assert_allclose(encoder.final_norm(records[-1].output, 0), found, atol=1e-6)  # float32
    features = tf.keras.Model(other.input, other.get_layer("encoder")(other.input, details=True).block_outputs)(x)
    for record, expected in zip(blocks, features, strict=True):
        np.testing.assert_array_equal(record.output, expected)


@pytest.mark.further_cases
@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_against_a_hand_count(jit_compile):
    """A learning rate of 0 keeps the weights: both epochs of two batches then give the same, unless counts were carried over."""
    model = new_model()
    encoder = model.get_layer("encoder")
    x, y = examples()
    model.compile(tf.keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    kept, dropped, balance = by_hand(encoder, [x[:4], x[4:]], training=True)
    assert np.all(dropped > 0)
    assert_table(model.expert_load.table(), kept, dropped, balance)
    assert np.sum(model.expert_load.kept) + np.sum(model.expert_load.dropped) == 2 * 8 * LENGTH * DEPTH
    # The loss of training is that of the data plus lambda times the balance of each routing.
    outputs = [reference.encode(encoder, half.astype(np.float64), training=True)[0] for half in (x[:4], x[4:])]
    loss = np.mean((np.concatenate(outputs) - y) ** 2) + 0.5 * np.sum(balance)
    for epoch in range(2):
        logs = {key: values[epoch] for key, values in history.items()}
        assert_metrics(logs, kept, dropped, balance)
        np.testing.assert_allclose(logs["loss"], loss, rtol=1e-4)


@pytest.mark.further_cases
@pytest.mark.parametrize("factor", [None, 0.5])
def test_evaluate_against_a_hand_count(factor):
    """It measures the balance, keeps it out of the loss, and starts from zero every time."""
    model = new_model(eval_capacity_factor=factor)
    encoder = model.get_layer("encoder")
    x, y = examples()
    model.compile("sgd", "mse")
    model.evaluate(x, y, batch_size=4, verbose=0)
    logs = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    halves = [x[:4], x[4:]]
    kept, dropped, balance = by_hand(encoder, halves, training=False)
    assert np.any(dropped > 0) == (factor is not None)
    assert_table(model.expert_load.table(), kept, dropped, balance)
    assert_metrics(logs, kept, dropped, balance)
    outputs = np.concatenate([reference.encode(encoder, half.astype(np.float64))[0] for half in halves])
    np.testing.assert_allclose(logs["loss"], np.mean((outputs - y) ** 2), rtol=1e-4)


def test_load_is_no_part_of_the_model(tmp_path):
    model, plain = new_model(), new_model(tf.keras.Model)
    assert [w.shape for w in model.weights] == [w.shape for w in plain.weights]
    assert len(model.variables) == len(plain.variables)
    assert model.count_params() == plain.count_params()
    assert model.non_trainable_weights == []
    checkpoint = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    paths = [path for path, _ in tf.train.list_variables(checkpoint)]
    assert paths and not [path for path in paths if "load" in path]
    tf.train.Checkpoint(model=plain).read(checkpoint).assert_consumed()


@pytest.mark.further
def test_files_of_weights_hold_no_load(tmp_path):
    """So that they go from one kind of model to the other, either way."""
    path, x = str(tmp_path / "model.weights.h5"), examples()[0]
    for kind, other in ((Model, tf.keras.Model), (tf.keras.Model, Model)):
        model, restored = new_model(kind), new_model(other)
        for weight in restored.weights:
            weight.assign(weight + 1)
        model.save_weights(path)
        restored.load_weights(path)
        np.testing.assert_array_equal(restored(x), model(x))


@pytest.mark.further
def test_inference_counts_nothing():
    model = new_model()
    x, y = examples()
    model.compile("sgd", "mse")
    model(x), model(x, training=False), model.predict(x, verbose=0), model.predict_on_batch(x)
    assert not np.any(model.expert_load.kept) and not np.any(model.expert_load.balance)
    with pytest.raises(ValueError, match=r"expert_load has counted nothing .* call table\(\) after .* training=True"):
        model.expert_load.table()
    logs = model.test_on_batch(x, y, return_dict=True)
    assert np.sum(model.expert_load.kept) == 2 * 8 * LENGTH * DEPTH
    assert {"loss", "balance", "dropped"} <= set(logs)


@pytest.mark.further_cases
@pytest.mark.parametrize("make", [lambda step: step, tf.function, lambda step: tf.function(step, jit_compile=True)])
def test_a_loop_of_ones_own_against_a_hand_count(make):
    """Each call in training counts once, whatever comes between; the user resets the counts."""
    model = new_model()
    x, y = examples()
    optimizer = tf.keras.optimizers.SGD(0.0)

    @make
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2) + tf.add_n(model.losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True))

    kept, dropped, balance = by_hand(model.get_layer("encoder"), [x[:4], x[4:]], training=True)
    for _ in range(2):
        model.expert_load.reset_state()
        train_step(x[:4], y[:4])
        model(x)
        train_step(x[4:], y[4:])
        assert_table(model.expert_load.table(), kept, dropped, balance)
        assert np.sum(model.expert_load.kept) + np.sum(model.expert_load.dropped) == 2 * 8 * LENGTH * DEPTH


def test_a_symbolic_call_counts_nothing():
    model = new_model()
    model(tf.keras.Input((LENGTH, WIDTH)), training=True)
    assert not np.any(model.expert_load.kept)


def test_a_call_by_position_counts_too():
    model = new_model()
    model(examples()[0], True)
    assert np.sum(model.expert_load.kept) + np.sum(model.expert_load.dropped) == 2 * 8 * LENGTH * DEPTH


def test_the_first_step_of_fit_is_traced_once(monkeypatch):
    """Variables that Keras's optimizer made in it would let TensorFlow trace it again."""
    traced, train_step = [], Model.train_step
    monkeypatch.setattr(Model, "train_step", lambda self, data: traced.append(1) or train_step(self, data))
    model = new_model(deployment=Deployment(moe_blocks=0))
    model.compile("adam", "mse")
    model.fit(*examples(), batch_size=4, verbose=0)
    assert len(traced) == 1


class OwnStep(Model):
    """As in Keras's guides: a train_step without that of the model."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.optimizer.minimize(loss, self.trainable_weights, tape=tape)
        return {"loss": loss, **self.expert_load.result()}


@pytest.mark.further
def test_fit_with_a_step_of_ones_own_against_a_hand_count():
    model = new_model(OwnStep)
    x, y = examples()
    model.compile(tf.keras.optimizers.SGD(0.0), "mse")
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert_table(model.expert_load.table(), *by_hand(model.get_layer("encoder"), [x[:4], x[4:]], training=True))


def test_graphs_for_saving_count_nothing():
    """In a training call too, as SavedModels for fine-tuning have it."""
    model = new_model()
    with model.export_scope():
        types = operation_types(tf.function(lambda x: model(x, training=True)), tf.TensorSpec([None, LENGTH, WIDTH], name="x"))
    assert not [operation for operation in types if operation.startswith("Assign")]
    assert not np.any(model.expert_load.kept)


@pytest.mark.further
def test_a_saved_training_function_of_ones_own(tmp_path):
    """A user's function that trains is saved with its counts, which no checkpoint and no list of weights has."""
    model = new_model()
    x, _ = examples()
    module = tf.Module()
    module.model = model
    module.call = tf.function(lambda x: model(x, training=True), input_signature=[tf.TensorSpec([None, LENGTH, WIDTH])])
    expected = module.call(x)
    tf.saved_model.save(module, str(tmp_path / "module"))
    loaded = tf.saved_model.load(str(tmp_path / "module"))
    np.testing.assert_allclose(loaded.call(x), expected, atol=1e-6)
    model.save(str(tmp_path / "model"), save_format="tf")
    loaded = tf.keras.models.load_model(str(tmp_path / "model"))
    assert type(loaded) is Model and [w.shape for w in loaded.weights] == [w.shape for w in model.weights]
    assert not np.any(loaded.expert_load.kept)


def operation_types(function, *specs):
    graph = function.get_concrete_function(*specs).graph
    types = [operation.type for operation in graph.get_operations()]
    for name in graph._functions:
        types += [node.op for node in graph._get_function(name).cached_definition.node_def]
    return sorted(types)


@pytest.mark.further
@pytest.mark.parametrize("step", ["call", "predict_step"])
def test_graph_of_a_prediction_is_that_of_a_plain_model_that_cannot_record(step, monkeypatch):
    spec = tf.TensorSpec([None, LENGTH, WIDTH])
    with_load = operation_types(tf.function(getattr(new_model(), step)), spec)
    monkeypatch.setattr("widenet.moe.record_load", lambda *_: None)
    monkeypatch.setattr("widenet.moe.record_assignments", lambda *_: None)
    plain = operation_types(tf.function(getattr(new_model(tf.keras.Model), step)), spec)
    assert with_load == plain
    assert not [operation for operation in with_load if operation.startswith("Assign")]


@pytest.mark.further
def test_export_counts_nothing(tmp_path):
    """Not even after a model was trained, evaluated and traced."""
    model = new_model()
    x, y = examples()
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    model.export(f"{tmp_path}/model")
    loaded = tf.saved_model.load(f"{tmp_path}/model")
    graph = loaded.signatures["serving_default"].graph.as_graph_def()
    operations = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert "MatMul" in operations or "BatchMatMulV2" in operations
    assert not {operation for operation in operations if operation.startswith("Assign")}
    np.testing.assert_allclose(loaded.serve(tf.constant(x)), model(x), atol=1e-5)


def test_without_moe_blocks_nothing_is_measured():
    model = new_model(deployment=Deployment(moe_blocks=0))
    x, y = examples()
    assert model.expert_load is None
    model.compile("sgd", "mse", metrics=["mae"])
    assert set(model.train_on_batch(x, y, return_dict=True)) == {"loss", "mae"}


@pytest.mark.further
def test_only_moe_blocks_have_a_row():
    model = new_model(deployment=Deployment(moe_blocks=(1,)))
    x, y = examples()
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    assert model.expert_load.kept.shape == (1, EXPERTS)
    assert len(model.expert_load.table()) == 1


@pytest.mark.further
def test_saved_and_loaded(tmp_path):
    """It comes back as what it is, with a measure of its own that starts from zero, and counts."""
    model = new_model()
    x, y = examples()
    model.compile(tf.keras.optimizers.SGD(0.0), "mse")
    model.train_on_batch(x, y)
    model.save(f"{tmp_path}/model.keras")
    loaded = tf.keras.models.load_model(f"{tmp_path}/model.keras")
    assert type(loaded) is Model
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    assert not np.any(loaded.expert_load.kept)
    loaded.train_on_batch(x, y)
    np.testing.assert_array_equal(loaded.expert_load.kept, model.expert_load.kept)


@pytest.mark.further
def test_encoders_with_different_numbers_of_experts():
    """Every MoE block has a row; experts that an encoder does not have get nothing."""
    x, y = examples()
    inputs = tf.keras.Input((LENGTH, WIDTH))
    outputs = inputs
    for num_experts, deployment in ((2, Deployment()), (5, Deployment(moe_blocks=0)), (4, Deployment())):
        outputs = Encoder(1, WIDTH, 2, 6, num_experts=num_experts, deployment=deployment)(outputs)
    model = Model(inputs, outputs)
    model.compile("sgd", "mse")
    model.evaluate(x, y, verbose=0)
    first, second = model.expert_load.kept.numpy()
    assert np.sum(first) == np.sum(second) == 2 * 8 * LENGTH
    assert not np.any(first[2:]) and np.any(second[2:])
    assert not np.any(model.expert_load.dropped)


# Outputs by name


def named_model():
    """A dict with a list in it, before and after what has a loss, and inputs by name too."""
    inputs = {"tokens": tf.keras.Input((LENGTH, WIDTH), name="tokens")}
    encoding = Encoder(2, WIDTH, 2, 6, num_experts=EXPERTS, noise=False, name="encoder")(inputs["tokens"], details=True)
    dense = tf.keras.layers.Dense(3)
    outputs = {
        "blocks": encoding.block_outputs,
        "scores": dense(encoding.output),
        "mean": tf.keras.layers.GlobalAveragePooling1D()(encoding.output),
        "z": [encoding.balance_loss],
    }
    return Model(inputs, outputs)


@pytest.mark.further_cases
@pytest.mark.parametrize("options", [dict(run_eagerly=True), dict(), dict(jit_compile=True)], ids=str)
def test_losses_and_metrics_by_the_names_of_outputs(options):
    """Each is of its own output and is told under its name, whatever stands beside it; by hand."""
    model, (x, _) = named_model(), examples()
    assert model.output_names == ["blocks", "blocks_1", "mean", "scores", "z"]
    labels = {"scores": np.arange(8 * LENGTH).reshape(8, LENGTH) % 3, "mean": np.ones((8, WIDTH), np.float32)}
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        tf.keras.optimizers.SGD(0.0),
        {"scores": cross_entropy, "mean": "mse"},
        {"scores": ["accuracy"]},
        loss_weights={"mean": 0.5},
        **options,
    )
    outputs = model({"tokens": x})
    expected = {
        "scores_loss": cross_entropy(labels["scores"], outputs["scores"]),
        "mean_loss": np.mean((outputs["mean"] - 1) ** 2),
        "scores_accuracy": np.mean(np.argmax(outputs["scores"], -1) == labels["scores"]),
    }
    expected["loss"] = expected["scores_loss"] + 0.5 * expected["mean_loss"]
    logs = model.evaluate({"tokens": x}, labels, batch_size=8, verbose=0, return_dict=True)
    assert logs.keys() == {*expected, "balance", "dropped"}
    for key, value in expected.items():
        np.testing.assert_allclose(logs[key], value, rtol=1e-5, err_msg=key)


@pytest.mark.further
def test_files_of_a_model_with_named_outputs(tmp_path):
    """Both kinds come back with their names; an export takes the dict and gives a flat one."""
    model, x = named_model(), {"tokens": examples()[0]}
    expected = model(x)
    model.save(f"{tmp_path}/model.keras")
    loaded = tf.keras.models.load_model(f"{tmp_path}/model.keras")
    assert type(loaded) is Model and loaded.output_names == model.output_names
    tf.nest.assert_same_structure(loaded(x), expected)
    tf.nest.map_structure(np.testing.assert_array_equal, loaded(x), expected)
    model.export(f"{tmp_path}/export")
    exported = tf.saved_model.load(f"{tmp_path}/export")
    served = exported.serve({"tokens": tf.constant(x["tokens"])})
    assert served.keys() == set(model.output_names)
    for key, value in model.by_name(expected).items():
        np.testing.assert_allclose(served[key], value, atol=1e-5)


# Two replicas


@pytest.mark.further
def test_a_loop_of_ones_own_on_two_replicas():
    """Each replica's call counts once, with the capacity of its own two examples."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = new_model()
    x, _ = examples(4)
    batches = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(x).batch(4))

    @tf.function
    def step(x):
        strategy.run(lambda x: model(x, training=True), args=(x,))

    for _ in range(2):
        model.expert_load.reset_state()
        for batch in batches:
            step(batch)
        assert_table(model.expert_load.table(), *by_hand(model.get_layer("encoder"), [x[:2], x[2:]], training=True))


@pytest.fixture(scope="module")
def two_replicas():
    """A step of SGD, learning rate 0.1, on two examples a replica: the model, its logs and the data."""
    tf.keras.mixed_precision.set_global_policy("float32")
    # Two strategies of one process would number their collective operations alike, and another test trains under one.
    to_one_device = tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=to_one_device)
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model = new_model()
        model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    x, y = examples(4)
    logs = model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(4), verbose=0).history
    return model, {key: values[0] for key, values in logs.items()}, x, y


@pytest.mark.further
def test_counts_sum_over_replicas(two_replicas):
    """Each replica routes its own two examples, with the capacity of two examples and the weights before the step."""
    model, logs, x, _ = two_replicas
    encoder = new_model().get_layer("encoder")
    kept, dropped, balance = by_hand(encoder, [x[:2], x[2:]], training=True)
    as_one_group, _, _ = by_hand(encoder, [x], training=True)
    assert np.any(as_one_group != kept)  # other tokens would be dropped
    assert_table(model.expert_load.table(), kept, dropped, balance)
    assert_metrics(logs, kept, dropped, balance)


@pytest.mark.further
def test_gradient_on_two_replicas_is_the_mean_of_the_replicas(two_replicas):
    """Of data loss and balance term alike: the step against two halves by hand. Sums in another order: 1e-5."""
    stepped, logs, x, y = two_replicas
    model = new_model()
    gradients, losses, balances = [], [], []
    for half in (slice(0, 2), slice(2, 4)):
        with tf.GradientTape(persistent=True) as tape:
            output = model(x[half], training=True)
            balance = tf.add_n(model.losses)
            loss = tf.reduce_mean((output - y[half]) ** 2) + balance
        assert len(model.losses) == DEPTH
        gradients.append(tape.gradient(loss, model.trainable_weights))
        balances.append(tape.gradient(balance, model.get_layer("encoder").moe_layers[0].router.kernel))
        losses.append(loss)
    np.testing.assert_allclose(logs["loss"], np.mean(losses), rtol=1e-5)
    for after, before, *halves in zip(stepped.trainable_weights, model.trainable_weights, *gradients, strict=True):
        gradient = tf.add_n([tf.convert_to_tensor(half) for half in halves]) / 2
        np.testing.assert_allclose(after.numpy(), before - 0.1 * gradient, atol=1e-5, err_msg=before.name)
    # A balance term scaled by 2 or 1/2 would show a hundred times over.
    assert np.max(np.abs(0.1 * 0.5 * (balances[0] + balances[1]))) > 1e-3


@pytest.mark.further
def test_an_encoder_called_twice_counts_both_calls():
    """The blocks are those of the encoder: what it does for both inputs adds up."""
    encoder = Encoder(2, 8, 2, 6, num_experts=3)
    first, second = tf.keras.Input((4, 8)), tf.keras.Input((4, 8))
    model = Model([first, second], encoder(first) - encoder(second))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(5, 4, 8)).astype(np.float32)
    model.train_on_batch([x, x], x)
    load = model.expert_load
    np.testing.assert_allclose(np.sum(load.kept, axis=1) + load.dropped, [2 * 2 * 5 * 4] * 2)


def test_a_moe_layer_outside_the_encoder_is_refused_by_name():
    inputs = tf.keras.Input((4, 8))
    model = Model(inputs, SharedMoE(3, 6)(Encoder(2, 8, 2, 6, num_experts=3)(inputs)))
    model.compile("sgd", "mse")
    x = np.zeros((5, 4, 8), np.float32)
    with pytest.raises(ValueError, match="3 MoE calls were recorded and 2 expected"):
        model.train_on_batch(x, x)
