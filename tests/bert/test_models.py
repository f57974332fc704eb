"""Text models at a tiny size, for every task: shapes, files, a step of training, policies, initial values and FLOPs."""

import collections
import re

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.models import forward_flops, settings_of
from official.training.optimizers import EXCLUDED
from tests.bert.batches import FEW_EXPERTS, TINY, more_padding, random_batch, randomize
from tests.profiled import profiled_flops
from widenet.depths import layer_depths

CROSS_ENTROPY = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def create(name="widenet_tiny_e4", task="encoder", **settings):
    return bert.create_model(name, task, **{**FEW_EXPERTS, **settings})


def batch_for(task, **kwargs):
    return random_batch(predictions=3 if task == "pretraining" else None, **kwargs)


def expected_shapes(task, examples, length):
    if task == "span":
        return (examples, length, 2)
    if task == "classification":
        return (examples, 2)
    shapes = {
        "pooled_output": (examples, 8),
        "sequence_output": (examples, length, 8),
        "encoder_outputs": [(examples, length, 8)] * 2,
        "balance_loss": (),
    }
    if task == "pretraining":
        shapes |= {"mlm_logits": (examples, 3, 50), "next_sentence": (examples, 2)}
    return shapes


def of_span(labels, logits):
    """Cross-entropy of start and end over the tokens."""
    return tf.keras.losses.sparse_categorical_crossentropy(labels, tf.transpose(logits, [0, 2, 1]), from_logits=True)


def assert_same(found, expected, atol=1e-5):
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(tf.cast(one, tf.float64), tf.cast(other, tf.float64), rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["bert_tiny", "albert_tiny", "widenet_tiny_e4"])
def test_every_family_gives_what_is_documented(name):
    """The documented names, shapes and dtypes, for any batch size and length."""
    model = bert.create_model(name, "pretraining", **TINY)
    for lengths in ((7, 5, 3), (16,)):
        outputs = model(batch_for("pretraining", lengths=lengths))
        shapes = tf.nest.map_structure(lambda x: tuple(x.shape), outputs)
        assert shapes == expected_shapes("pretraining", len(lengths), max(lengths))
        assert {x.dtype for x in tf.nest.flatten(outputs)} == {tf.float32}
        assert all(np.isfinite(x).all() for x in tf.nest.flatten(outputs))
        np.testing.assert_array_equal(outputs["encoder_outputs"][-1], outputs["sequence_output"])


@pytest.mark.further_cases
class TestTasks:
    """One model of each task, and of each family, which the tests of this class share."""

    CASES = (
        ("widenet_tiny_e4", "pretraining"),
        ("widenet_tiny_e4", "encoder"),
        ("widenet_tiny_e4", "classification"),
        ("widenet_tiny_e4", "span"),
        ("albert_tiny", "pretraining"),
        ("bert_tiny", "classification"),
    )

    @pytest.fixture(scope="class", params=CASES, ids="-".join)
    def case(self, request):
        name, task = request.param
        tf.keras.utils.set_random_seed(0)
        return randomize(create(name, task)), task

    def test_forward(self, case):
        model, task = case
        outputs = model(batch_for(task))
        shapes = tf.nest.map_structure(lambda x: tuple(x.shape), outputs)
        assert shapes == expected_shapes(task, 3, 7)
        assert {tensor.dtype for tensor in tf.nest.flatten(outputs)} == {tf.float32}

    def test_keras_file(self, case, tmp_path):
        """The saved file alone gives the same model back: nothing is computed otherwise, so nothing may differ."""
        model, task = case
        model.save(tmp_path / "model.keras")
        loaded = tf.keras.models.load_model(tmp_path / "model.keras")
        assert_same(loaded(batch_for(task)), model(batch_for(task)), atol=0)
        assert type(loaded) is type(model)
        assert loaded.output_names == model.output_names
        assert loaded.get_layer("encoder").deployment == model.get_layer("encoder").deployment

    @pytest.mark.further
    def test_export(self, case, tmp_path):
        """Takes the same dict at any size, and gives a flat one. The graph may fuse operations, hence 1e-5."""
        model, task = case
        model.export(str(tmp_path / "export"))
        loaded = tf.saved_model.load(str(tmp_path / "export"))
        for lengths in ((7, 5, 3), (4,)):
            batch = {name: tf.constant(array) for name, array in batch_for(task, lengths=lengths).items()}
            assert_same(loaded.serve(batch), model.by_name(model(batch)))
            assert_same(
                tf.nest.flatten(loaded.signatures["serving_default"](**batch)), tf.nest.flatten(model.by_name(model(batch)))
            )

    @pytest.mark.further
    def test_fit_step(self, case):
        """One step gives a finite loss and moves every weight that it depends on.

        It comes last, as it changes the model.
        """
        model, task = case
        losses, labels = {
            "encoder": ({"pooled_output": "mse"}, {"pooled_output": np.zeros((3, 8))}),
            "pretraining": (
                {"mlm_logits": CROSS_ENTROPY, "next_sentence": CROSS_ENTROPY},
                {"mlm_logits": np.full((3, 3), 7), "next_sentence": np.array([0, 1, 1])},
            ),
            "classification": (CROSS_ENTROPY, np.array([0, 1, 1])),
            "span": (of_span, np.ones((3, 2), int)),
        }[task]
        before = [weight.numpy() for weight in model.trainable_weights]
        # Momentum alone, so that what moves has a gradient.
        model.compile(tf.keras.optimizers.SGD(1.0), losses)
        logs = model.train_on_batch(batch_for(task), labels, return_dict=True)
        assert np.isfinite(logs["loss"])
        assert {"balance", "dropped"} <= set(logs) or "widenet" not in model.name
        if task == "pretraining":
            assert {"mlm_logits_loss", "next_sentence_loss"} <= set(logs)
        pairs = zip(model.trainable_weights, before, strict=True)
        still = {weight.name for weight, old in pairs if np.array_equal(weight, old)}
        # A bias of the keys shifts all scores of a query alike, and that of a span all of an example, so softmax takes no notice
        # of it; rounding may.
        assert all("/key/bias" in name or name == "span/dense/bias:0" for name in still), still


def test_pooler_of_the_mean(tmp_path):
    """Of real tokens alone, by NumPy in float64 (1e-5 for float32); another layer alone differs from a model that reads [CLS]."""
    model, other = (randomize(create("bert_tiny", depth=1, pool=pool)) for pool in ("mean", "token"))
    other.set_weights(model.get_weights())
    batch = random_batch((7, 5, 2))
    outputs = model(batch)
    mean = [
        row[mask == 1].mean(axis=0) for row, mask in zip(np.float64(outputs["sequence_output"]), batch["input_mask"], strict=True)
    ]
    kernel, bias = map(np.float64, model.get_layer("pooler").get_weights())
    np.testing.assert_allclose(outputs["pooled_output"], np.tanh(mean @ kernel + bias), rtol=0, atol=1e-5)
    np.testing.assert_allclose(model(more_padding(batch, 3))["pooled_output"], outputs["pooled_output"], rtol=0, atol=1e-5)
    assert np.abs(other(batch)["pooled_output"] - outputs["pooled_output"]).max() > 0.1
    model.save(tmp_path / "model.keras")
    loaded = bert.load_model(tmp_path / "model.keras", task="classification")
    assert settings_of(loaded) == {**settings_of(model), "task": "classification"}
    assert settings_of(loaded)["pool"] == "mean"
    with pytest.raises(ValueError, match="pool='cls' is not allowed: it must be one of 'token', 'mean'"):
        create(pool="cls")


@pytest.mark.further
def test_saved_model(tmp_path):
    """TensorFlow's own SavedModel is called as the model is, and gives what it gives, lists included."""
    model = randomize(create(task="pretraining", depth=1))
    tf.saved_model.save(model, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for lengths in ((7, 5, 3), (4,)):
        batch = batch_for("pretraining", lengths=lengths)
        assert_same(tf.nest.flatten(loaded(batch, training=False)), tf.nest.flatten(model(batch)))


def test_what_optimizers_leave_out_of_decay():
    """Biases and norm parameters, by the last part of their names; embeddings and kernels decay."""
    weights = create("widenet_tiny_e4", "pretraining").weights
    excluded = {weight.name for weight in weights if re.search(EXCLUDED[0], weight.name)}
    assert excluded == {weight.name for weight in weights if re.search("bias|/gamma|/beta", weight.name)}
    assert {"mlm_logits/bias:0", "mlm_logits/norm/gamma:0", "embedding/norm/beta:0", "pooler/bias:0"} <= excluded
    assert not any("embedding:0" in name or "kernel:0" in name for name in excluded)


@pytest.mark.further_cases
@pytest.mark.parametrize("jit_compile", [False, True])
def test_pretraining_loss_by_hand(jit_compile):
    """Cross-entropy of words by weight, of the sentences' order, and the balance terms: what `fit` reports is their sum."""
    model = randomize(create(task="pretraining", depth=1, dropout=0.0, attention_dropout=0.0, balance_weight=0.5))
    for moe in model.get_layer("encoder").moe_layers:
        moe.router.noise = False
    batch, weights = batch_for("pretraining"), np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], np.float32)
    labels = {"mlm_logits": np.array([[4, 8, 0], [15, 0, 0], [16, 23, 42]]), "next_sentence": np.array([0, 1, 1])}
    outputs = model(batch, training=True)
    of_words = tf.nn.sparse_softmax_cross_entropy_with_logits(labels["mlm_logits"], outputs["mlm_logits"]).numpy()
    of_order = tf.nn.sparse_softmax_cross_entropy_with_logits(labels["next_sentence"], outputs["next_sentence"]).numpy()
    # Keras divides by the number of predictions, whatever they weigh.
    expected = np.sum(of_words * weights) / 9 + np.mean(of_order) + float(outputs["balance_loss"])
    losses = {"mlm_logits": CROSS_ENTROPY, "next_sentence": CROSS_ENTROPY}
    model.compile(tf.keras.optimizers.SGD(0.0), losses, metrics={"next_sentence": "accuracy"}, jit_compile=jit_compile)
    logs = model.fit(batch, labels, sample_weight={"mlm_logits": weights}, batch_size=3, verbose=0).history
    np.testing.assert_allclose(logs["loss"], [expected], rtol=1e-5)
    np.testing.assert_allclose(logs["next_sentence_loss"], [np.mean(of_order)], rtol=1e-5)
    right = np.mean(np.argmax(outputs["next_sentence"], axis=-1) == labels["next_sentence"])
    np.testing.assert_allclose(logs["next_sentence_accuracy"], [right])


@pytest.mark.further_cases
@pytest.mark.parametrize("routing_groups, terms", [(None, 3), (2, 2), (1, 1)])
def test_balance_loss_is_what_training_adds(routing_groups, terms):
    """The output is the sum of the model's losses, one a routing, with noise and padding; outside training there are none."""
    model = randomize(create(depth=3, routing_groups=routing_groups, balance_weight=0.3))
    outputs = model(random_batch(), training=True)
    assert len(model.losses) == terms
    np.testing.assert_allclose(outputs["balance_loss"], tf.add_n(model.losses), rtol=1e-6)
    outputs = model(random_batch())
    assert model.losses == []
    assert outputs["balance_loss"] > 0.3 * terms  # K = 2 is the least where experts share alike, and E m P is above 1 anyway


def test_no_balance_loss_without_experts():
    for name in ("bert_tiny", "albert_tiny"):
        assert create(name)(random_batch(), training=True)["balance_loss"] == 0


@pytest.mark.further_cases
@pytest.mark.parametrize("task", ["pretraining", "encoder", "classification", "span"])
def test_every_word_counts_but_padding(task):
    """No id means padding, word 0 neither: the mask alone says what does, and what stands there does not matter."""
    model = randomize(create(task=task))
    batch = batch_for(task, lengths=(7, 4))
    batch["input_word_ids"][:, :4] = 0
    real = batch["input_mask"] > 0
    others = {**batch, "input_word_ids": np.where(real, batch["input_word_ids"], 9)}
    others["input_type_ids"] = np.where(real, batch["input_type_ids"], 1 - batch["input_type_ids"])
    first, second = (tf.nest.flatten(model(inputs)) for inputs in (batch, others))
    for one, other in zip(first, second, strict=True):
        if one.shape.rank == 3 and one.shape[1] == 7:
            one, other = one[real], other[real]
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    fewer = {**batch, "input_mask": np.where(batch["input_word_ids"] == 0, 0, batch["input_mask"])}
    assert any(np.max(np.abs(a - b)) > 0.01 for a, b in zip(first, tf.nest.flatten(model(fewer)), strict=True))


def test_span_logits_of_padding():
    """So low that a softmax over the length gives it nothing."""
    model = randomize(create(task="span"))
    batch = random_batch(lengths=(6, 2), padded=2)
    logits = model(batch)
    real = batch["input_mask"] > 0
    assert np.all(logits.numpy()[~real] <= -1e9) and np.all(np.abs(logits.numpy()[real]) < 100)
    np.testing.assert_array_equal(tf.nn.softmax(logits, axis=1).numpy()[~real], 0)


def test_more_tokens_than_positions():
    """Refused with both numbers where the length is known, and when run where it is not; all positions may be used."""
    model = create()
    model(random_batch(lengths=(16,)))
    with pytest.raises(ValueError, match="max_length=16 is not allowed: it must be at least the 17 tokens of the input"):
        model(random_batch(lengths=(17,)))
    unknown = tf.function(model, input_signature=[{key: tf.TensorSpec([None, None], tf.int32) for key in model.input}])
    unknown(random_batch(lengths=(16,)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="more tokens than max_length=16"):
        unknown(random_batch(lengths=(17,)))


@pytest.mark.further
@pytest.mark.parametrize("policy, dtype", [("mixed_bfloat16", tf.float32), ("float64", tf.float64)])
@pytest.mark.parametrize("task, loss", [("classification", CROSS_ENTROPY), ("pretraining", {"mlm_logits": CROSS_ENTROPY})])
def test_policies(policy, dtype, task, loss):
    """Weights stay wide, logits and balance are never below float32, and a step under each policy gives a finite loss."""
    tf.keras.mixed_precision.set_global_policy(policy)
    model = create(task=task)
    assert {weight.dtype for weight in model.weights} == {dtype}
    assert model.get_layer("encoder").compute_dtype == ("bfloat16" if policy == "mixed_bfloat16" else "float64")
    outputs = model(batch_for(task))
    wide = [outputs] if task == "classification" else [outputs[key] for key in ("mlm_logits", "next_sentence", "balance_loss")]
    assert {tensor.dtype for tensor in wide} == {dtype}
    if task == "pretraining":
        assert outputs["sequence_output"].dtype == (tf.bfloat16 if policy == "mixed_bfloat16" else tf.float64)
    model.compile("sgd", loss)
    labels = np.array([0, 1, 1]) if task == "classification" else {"mlm_logits": np.ones((3, 3), int)}
    assert np.isfinite(model.train_on_batch(batch_for(task), labels, return_dict=True)["loss"])


def test_bfloat16_is_near_float32():
    """The same weights under both policies: of 8 bits a few are lost from layer to layer, of logits of up to about 1."""
    wide = randomize(create("albert_tiny", "pretraining"))
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    narrow = create("albert_tiny", "pretraining")
    narrow.set_weights(wide.get_weights())
    batch = batch_for("pretraining")
    for key in ("mlm_logits", "next_sentence"):
        np.testing.assert_allclose(narrow(batch)[key], wide(batch)[key], rtol=0, atol=0.05)
        assert np.max(np.abs(wide(batch)[key])) > 0.3


def test_the_words_of_the_head_are_those_of_the_embedding():
    """One matrix: what is predicted moves it for words that were not in the input too."""
    model = randomize(create("bert_tiny", "pretraining"))
    batch = {**batch_for("pretraining"), "input_word_ids": np.full((3, 7), 5, np.int32)}
    table = model.get_layer("embedding").word_embedding
    assert [weight.shape for weight in model.weights].count(table.shape) == 1
    with tf.GradientTape() as tape:
        loss = CROSS_ENTROPY(np.full((3, 3), 7), model(batch)["mlm_logits"])
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    assert np.all(np.any(gradient != 0, axis=1))


class TestInitialValues:
    """A model starts as BERT and ALBERT do: kernels and embeddings truncated normal of 0.02, biases zero."""

    @pytest.fixture(scope="class")
    def model(self):
        tf.keras.utils.set_random_seed(0)
        # Wide enough for statistics: a kernel has 64 * 64 values or more.
        settings = dict(vocab_size=200, max_length=100, depth=2, width=64, heads=4, ffn_dim=128, expert_dim=128)
        return bert.create_model("widenet_tiny_e4", "pretraining", **settings)

    def test_kernels_and_embeddings(self, model):
        """Cut off at two deviations, which leaves 0.88 of the deviation; a sample of 4096 is off by 1 % (one sigma)."""
        drawn = [weight for weight in model.weights if "kernel" in weight.name or weight.name.endswith("_embedding:0")]
        assert len(drawn) == 3 + 4 + 1 + 2 * 4 + 1 + 1 + 1  # no projection where the widths are equal
        for weight in drawn:
            values = weight.numpy()
            assert abs(values).max() <= 0.04, weight.name
            if values.size >= 4096:
                assert abs(values).max() > 0.039, weight.name
                assert values.std() == pytest.approx(0.8796 * 0.02, rel=0.05), weight.name
                assert abs(values.mean()) < 0.002

    def test_no_two_kernels_start_equal(self, model):
        """An initializer that is used twice would give the same values."""
        drawn = [weight.numpy().ravel() for weight in model.weights if weight.shape.rank == 2 and "gamma" not in weight.name]
        drawn = [values[:100] for values in drawn if values.any() and values.size >= 100]
        assert len(drawn) > 15
        assert len({values.tobytes() for values in drawn}) == len(drawn)

    def test_biases_and_norms(self, model):
        for weight in model.weights:
            last = weight.name.rsplit("/", 1)[-1]
            if last.startswith(("bias", "beta")):
                assert not weight.numpy().any(), weight.name
            if last.startswith("gamma"):
                assert (weight.numpy() == 1).all(), weight.name


@pytest.mark.parametrize("where", ["embedding", "pooled_dropout"])
def test_dropout_outside_the_encoder(where):
    """After the embedding's norm and before the classifier, in training only, at the model's rate."""
    model = randomize(create("bert_tiny", "classification", dropout=0.5, attention_dropout=0.0))
    batch = random_batch()
    layer = model.get_layer(where)
    inputs = (batch["input_word_ids"],) if where == "embedding" else (np.ones((3, 8), np.float32),)
    others = dict(type_ids=batch["input_type_ids"]) if where == "embedding" else {}
    first, second, still, again = (
        tf.nest.flatten(layer(*inputs, **others, training=training))[0] for training in (True, True, False, False)
    )
    assert np.max(np.abs(first - second)) > 0.01
    np.testing.assert_array_equal(still, again)
    if where == "pooled_dropout":
        assert set(np.unique(first)) <= {0, 2}


def test_embedding_by_hand():
    """Sum, norm and projection in NumPy float64; 1e-5 for float32."""
    model = randomize(create("bert_tiny"))
    embedding, batch = model.get_layer("embedding"), random_batch()
    found, words = embedding(batch["input_word_ids"], type_ids=batch["input_type_ids"])
    word, position, kind, kernel, bias = (
        weight.numpy().astype(np.float64)
        for weight in (
            embedding.word_embedding,
            embedding.position_embedding,
            embedding.type_embedding,
            embedding.projection.kernel,
            embedding.projection.bias,
        )
    )
    x = word[batch["input_word_ids"]] + kind[batch["input_type_ids"]] + position[:7]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * embedding.norm.gamma.numpy()[0] + embedding.norm.beta.numpy()[0]
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(words, embedding.word_embedding)


@pytest.mark.further
def test_use_as_in_keras():
    """A user's own arrays with what Keras offers: whether word 7 is there is learned, and a number for each text."""
    random = np.random.default_rng(0)
    ids = random.integers(10, 50, (64, 8)).astype(np.int32)
    labels = np.arange(64) % 2
    ids[labels == 1, 4] = 7
    inputs = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
    settings = dict(depth=1, width=16, embedding_dim=16, dropout=0.0, attention_dropout=0.0)
    model = create(task="classification", **settings)
    model.compile(tf.keras.optimizers.Adam(0.01), CROSS_ENTROPY, metrics=["accuracy"])
    model.fit(inputs, labels, batch_size=16, epochs=12, verbose=0)
    results = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    assert results["accuracy"] == 1 and set(results) == {"loss", "accuracy", "balance", "dropped"}
    regression = create(task="classification", classes=1, **settings)
    regression.compile(tf.keras.optimizers.Adam(0.01), "mse")
    regression.fit(inputs, 3.0 * labels, batch_size=16, epochs=12, verbose=0)
    predicted = regression.predict(inputs, verbose=0)
    assert predicted.shape == (64, 1)
    assert np.mean((predicted[:, 0] - 3 * labels) ** 2) < 0.5  # their variance is 2.25


@pytest.mark.further
def test_predict_over_several_batches():
    """One row an example, lists within the dict too, and a balance a batch."""
    model = create(task="pretraining")
    batch = batch_for("pretraining")
    predicted = model.predict(batch, batch_size=2, verbose=0)
    expected = model(batch)
    for key in ("pooled_output", "sequence_output", "encoder_outputs", "mlm_logits", "next_sentence"):
        assert_same(tf.nest.map_structure(tf.constant, predicted[key]), expected[key])
    assert predicted["balance_loss"].shape == (2,)


@pytest.mark.further_cases
@pytest.mark.parametrize("task, others", [("pretraining", 3), ("classification", 2), ("span", 1)])
def test_kernel_regularizer(task, others):
    """A term for each kernel, by NumPy, and none for the embeddings: projection, attention, router, experts and heads."""
    model = create(task=task, kernel_regularizer=tf.keras.regularizers.L2(0.5))
    kernels = [weight.numpy() for weight in model.weights if "kernel" in weight.name]
    assert len(kernels) == len(model.losses) == 1 + 4 + 1 + 2 * 2 + others
    expected = sum(0.5 * np.sum(np.float64(kernel) ** 2) for kernel in kernels)
    np.testing.assert_allclose(sum(model.losses), expected, rtol=1e-5)


class TestNamesOfInputs:
    @pytest.fixture(scope="class")
    def model(self):
        return randomize(create(task="classification"))

    def test_of_hugging_face(self, model):
        """All of them, as its tokenizers give them in an object that is like a dict, or one beside names of ours."""
        batch = random_batch()
        words, mask, types = batch.values()
        theirs = {"attention_mask": mask, "input_ids": words, "token_type_ids": types}
        mixed = {"attention_mask": mask, "input_type_ids": types, "input_word_ids": words}
        expected = model(batch)
        for inputs in (theirs, collections.UserDict(theirs), mixed):
            np.testing.assert_array_equal(model(inputs), expected)
        assert_same(tf.constant(model.predict(theirs, verbose=0)), expected)

    def test_mask_of_a_call(self, model, tmp_path):
        """Keras's argument in place of the input, in a call and in a model around it, which is saved."""
        batch = random_batch()
        expected = model(batch)
        words = {name: batch[name] for name in ("input_word_ids", "input_type_ids")}
        np.testing.assert_array_equal(model(words, mask=batch["input_mask"] > 0), expected)
        inputs = {name: tf.keras.Input((None,), dtype=tf.int32, name=name) for name in batch}
        symbolic = {name: inputs[name] for name in words}
        around = tf.keras.Model(inputs, model(symbolic, mask=inputs["input_mask"]))
        around.save(tmp_path / "around.keras")
        for one in (around, tf.keras.models.load_model(tmp_path / "around.keras")):
            np.testing.assert_array_equal(one(batch), expected)

    def test_wrong_ones(self, model):
        """Keras would take the values in the order of their keys."""
        batch = random_batch()
        wrong = dict(zip(("token_ids", "padding_mask", "segment_ids"), batch.values(), strict=True))
        keys = "input_mask, input_type_ids, input_word_ids (or Hugging Face's attention_mask, input_ids, token_type_ids)"
        said = re.escape(
            f"inputs=['padding_mask', 'segment_ids', 'token_ids'] is not allowed: it must be a dict with the keys {keys}"
        )
        for call in (model, model.predict_on_batch):
            with pytest.raises(ValueError, match=said):
                call(wrong)
        assert model({**batch, "more": batch["input_mask"]}).shape == (3, 2)

    def test_one_input_by_two_names(self, model):
        batch = random_batch()
        mask = batch["input_mask"]
        with pytest.raises(ValueError, match=r"inputs=\['attention_mask', .* must be without a second name of input_mask$"):
            model({**batch, "attention_mask": mask})
        with pytest.raises(
            ValueError, match=r"inputs=\[.*'mask='\] is not allowed: it must be without a second name of input_mask$"
        ):
            model(batch, mask=mask)

    def test_keras_layers_see_the_mask(self):
        """The encoder's output carries it: Keras's mean over tokens is that over the real ones."""
        batch = random_batch()
        tokens = create()(batch)["sequence_output"]
        real = batch["input_mask"][..., np.newaxis]
        expected = np.sum(tokens * real, axis=1) / np.sum(real, axis=1)
        np.testing.assert_allclose(tf.keras.layers.GlobalAveragePooling1D()(tokens), expected, rtol=0, atol=1e-5)


def test_depths():
    """The tied word embedding is the embedding's, of depth 0; what stands on the encoder is the last layer."""
    for task, heads in (("pretraining", {"pooler", "mlm_logits", "next_sentence"}), ("span", {"span"})):
        model = create("bert_tiny", task)
        depths, last = layer_depths(model)
        assert last == 3 and depths.keys() == {weight.name for weight in model.weights}
        by_layer = {}
        for name, depth in depths.items():
            if not name.startswith("encoder/"):
                by_layer.setdefault(name.split("/")[0], set()).add(int(depth))
        assert by_layer == {"embedding": {0}, **{head: {3} for head in heads}}
        assert depths["encoder/attention_1/query/kernel:0"] == 2


def test_flops_of_a_dense_model():
    """Equal to TensorFlow's profiler for matrix products."""
    settings = dict(vocab_size=30, embedding_dim=6, width=16, heads=2, ffn_dim=40, depth=2, max_length=12)
    model = bert.create_model("bert_tiny", "pretraining", **settings)
    fixed = {name: tf.keras.Input((3 if name == "masked_lm_positions" else 12,), dtype=tf.int32) for name in model.input}
    found = profiled_flops(tf.keras.Model(fixed, model(fixed)))
    counted = forward_flops(model, tokens=12, predictions=3)
    assert counted == sum(flops for kind, flops in found.items() if "MatMul" in kind)


@pytest.mark.further
def test_flops_by_hand():
    """WideNet: 5 tokens of width 8, 2 of 2 experts a token; the head of each task."""
    attention = 4 * (2 * 5 * 8 * 8) + 2 * (2 * 5 * 5 * 8)
    experts, router = 2 * (2 * (5 * 2) * 8 * 12), 2 * 5 * 8 * 2
    encoder = 2 * 5 * 6 * 8 + 2 * (attention + experts + router)
    pooler = 2 * 8 * 8
    assert forward_flops(create(), 5) == encoder + pooler
    assert forward_flops(create(task="classification", classes=3), 5) == encoder + pooler + 2 * 8 * 3
    assert forward_flops(create(task="span"), 5) == encoder + 2 * 5 * 8 * 2
    assert forward_flops(create(task="pretraining"), 5, 2) == encoder + pooler + 2 * 8 * 2 + 2 * 2 * (8 * 6 + 6 * 50)
    assert forward_flops(create(embedding_dim=8), 5) == encoder - 2 * 5 * 6 * 8 + pooler


class TestFeaturesOnly:
    """The outputs of all blocks in place of the encoder's dict."""

    @staticmethod
    def create(**settings):
        return bert.create_model("widenet_tiny_e4", **{**FEW_EXPERTS, **settings})

    @pytest.mark.further  # beside tests/vision/test_features_only.py
    def test_outputs(self, tmp_path):
        """Those that the whole encoder calls encoder_outputs, with the same names of weights, and after saving and loading."""
        whole, model = randomize(self.create()), self.create(features_only=True)
        names = [weight.name for weight in model.weights]
        assert names == [weight.name for weight in whole.weights if not weight.name.startswith("pooler/")]
        assert model.output_names == ["block_0", "block_1"]
        whole.save_weights(tmp_path / "model.weights.h5")
        model.load_weights(tmp_path / "model.weights.h5")
        model.save(tmp_path / "model.keras")
        batch = random_batch()
        expected = whole(batch)["encoder_outputs"]
        loaded = [tf.keras.models.load_model(tmp_path / "model.keras"), bert.load_model(tmp_path / "model.keras")]
        given = [self.create(features_only=True, pretrained=tmp_path / file) for file in ("model.keras", "model.weights.h5")]
        for features in (model, *loaded, *given):
            assert features.output_shape == [(None, None, 8)] * 2
            for found, block in zip(features(batch), expected, strict=True):
                np.testing.assert_allclose(found, block, rtol=0, atol=1e-6)

    @pytest.mark.further
    def test_training_moves_all_weights(self):
        """With a head of one's own; text models have no final norm."""
        model = self.create(features_only=True)
        logits = tf.keras.layers.Dense(1)(tf.keras.layers.Concatenate()(model.output)[:, 0])
        whole = tf.keras.Model(model.input, logits)
        whole.compile(tf.keras.optimizers.Adam(0.01), "mse")
        before = {weight.name: weight.numpy() for weight in model.weights}
        whole.fit(random_batch(), np.ones((3, 1), np.float32), verbose=0)
        still = {weight.name for weight in model.weights if np.array_equal(weight, before[weight.name])}
        assert all("/key/bias" in name for name in still), still

    @pytest.mark.further
    def test_from_and_to_other_tasks(self, tmp_path, capsys):
        """load_model takes the encoder of any task, and a task asks for its own outputs."""
        whole = randomize(self.create(task="classification"))
        whole.save(tmp_path / "whole.keras")
        model = bert.load_model(tmp_path / "whole.keras", features_only=True)
        model.save(tmp_path / "features.keras")
        again = bert.load_model(tmp_path / "features.keras", "classification", classes=2)
        for features in (model, again):
            np.testing.assert_array_equal(
                features.get_layer("encoder").get_weights()[0], whole.get_layer("encoder").get_weights()[0]
            )
        assert again.output_shape == (None, 2)

    def test_refused(self):
        with pytest.raises(ValueError, match="features_only=True is not allowed: it must be False for task='span'"):
            self.create(task="span", features_only=True)
        with pytest.raises(ValueError, match="features_only='yes' is not allowed: it must be True or False"):
            self.create(features_only="yes")
