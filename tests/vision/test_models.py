"""Models of the zoo at a tiny size: forward, one step, saved and exported; initial values, policies and FLOPs."""

import math

import numpy as np
import pytest
import tensorflow as tf

import vision
from tests.profiled import profiled_flops
from vision.models import forward_flops
from vision.sizes import sides

TINY = dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, image_size=8, patch_size=4, channels=1, classes=3)
FEW_EXPERTS = dict(TINY, num_experts=2)  # each expert of each block costs time to trace


def tiny_settings(name):
    """Overrides of a tiny model; a ViT-MoE keeps one dense block beside its MoE block."""
    return dict(FEW_EXPERTS, moe_blocks=1) if name.startswith("vit_moe") else FEW_EXPERTS


def random_images(count, size=8, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, channels)).astype(np.float32)


def last_part(weight):
    return weight.name.rsplit("/", 1)[-1]


def compiled(model):
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"])
    return model


FAMILIES = ("widenet_ti16", "vit_ti16", "vit_moe_b16")


def test_families_stand_for_all_names():
    """At the tiny size every model has the settings of one of FAMILIES; test_zoo holds the sizes."""
    tiny = {name: vision.model_settings(name, **tiny_settings(name)) for name in vision.list_models()}
    assert all(settings in [tiny[family] for family in FAMILIES] for settings in tiny.values())
    assert len({str(tiny[family]) for family in FAMILIES}) == 3


@pytest.mark.further_cases
class TestZoo:
    """One model of each family, which the tests of this class share."""

    @pytest.fixture(scope="class", params=FAMILIES)
    def model(self, request):
        tf.keras.utils.set_random_seed(0)
        return vision.create_model(request.param, **tiny_settings(request.param))

    def test_forward(self, model):
        """The documented shapes and float32 logits, for any batch size."""
        assert model.input_shape == (None, 8, 8, 1)
        assert model.output_shape == (None, 3)
        for batch in (1, 5):
            logits = model(random_images(batch))
            assert logits.shape == (batch, 3)
            assert logits.dtype == tf.float32
            assert np.isfinite(logits).all()

    def test_features(self, model):
        """classes=0 gives what the head would have read."""
        features = vision.create_model(model.name, **{**tiny_settings(model.name), "classes": 0})
        assert features.output_shape == (None, 16)
        assert features(random_images(2)).shape == (2, 16)
        assert features.count_params() == model.count_params() - (16 * 3 + 3)

    def test_keras_file(self, model, tmp_path):
        """The saved file alone gives the same model back: nothing is computed otherwise, so nothing may differ."""
        model.save(tmp_path / "model.keras")
        loaded = tf.keras.models.load_model(tmp_path / "model.keras")
        images = random_images(3)
        np.testing.assert_array_equal(loaded(images), model(images))
        assert type(loaded) is type(model)
        assert loaded.get_layer("encoder").deployment == model.get_layer("encoder").deployment
        # The last part of a name is what the optimizer goes by; Keras builds a loaded layer without the path before it.
        assert [last_part(weight) for weight in loaded.weights] == [last_part(weight) for weight in model.weights]

    @pytest.mark.further
    def test_export(self, model, tmp_path, capsys):
        """An export takes any batch size. The graph may fuse operations that are apart in eager mode, hence 1e-5."""
        model.export(str(tmp_path / "export"))
        loaded = tf.saved_model.load(str(tmp_path / "export"))
        for batch in (1, 5):
            images = random_images(batch)
            np.testing.assert_allclose(loaded.serve(images), model(images), rtol=0, atol=1e-5)

    @pytest.mark.further
    def test_fit_step(self, model):
        """One step gives a finite loss and moves every weight that the loss depends on.

        It comes last, as it changes the model.
        """
        images, labels = random_images(6), np.arange(6) % 3
        before = [weight.numpy() for weight in model.trainable_weights]
        history = compiled(model).fit(images, labels, batch_size=6, verbose=0)
        assert np.isfinite(history.history["loss"][0])
        assert ("balance" in history.history) == (not model.name.startswith("vit_") or model.name.startswith("vit_moe"))
        moved = {
            weight.name
            for weight, old in zip(model.trainable_weights, before, strict=True)
            if not np.array_equal(weight.numpy(), old)
        }
        # A bias of the keys shifts all scores of a query alike, so softmax takes no notice of it; rounding may.
        still = {weight.name for weight in model.trainable_weights} - moved
        assert all("/key/bias" in name for name in still), still


@pytest.mark.further
def test_use_as_in_keras(tmp_path):
    """A user's own arrays with what Keras offers and nothing of the driver: fit learns them, evaluate, predict, export."""
    model = vision.create_model("widenet_ti16", **{**FEW_EXPERTS, "depth": 1})
    labels = np.arange(48) % 3
    images = random_images(48) * 0.1 + (labels - 1)[:, np.newaxis, np.newaxis, np.newaxis] * 0.8  # dark, grey, bright
    images = images.astype(np.float32)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    history = model.fit(images, labels, batch_size=16, epochs=8, validation_data=(images, labels), verbose=0)
    assert history.history["val_accuracy"][-1] == 1
    results = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert results["accuracy"] == 1
    assert set(results) == {"loss", "accuracy", "balance", "dropped"}
    predicted = model.predict(images, verbose=0)
    np.testing.assert_array_equal(predicted.argmax(axis=-1), labels)
    model.export(str(tmp_path / "export"))
    exported = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_allclose(exported.serve(images), predicted, rtol=0, atol=1e-4)


@pytest.mark.further
def test_an_example_does_not_depend_on_its_batch():
    """Outside training nothing is dropped, so batch-mates compete for nothing; 1e-5 is for sums taken in another order."""
    model = vision.create_model("widenet_ti16", **TINY)
    images = random_images(16)
    together = model(images).numpy()
    for i in (0, 7, 15):
        np.testing.assert_allclose(model(images[i : i + 1]).numpy()[0], together[i], rtol=0, atol=1e-5)
    order = np.random.default_rng(1).permutation(16)
    np.testing.assert_allclose(model(images[order]).numpy(), together[order], rtol=0, atol=1e-5)
    others = np.concatenate([images[:1], np.ones_like(images[1:])])
    np.testing.assert_allclose(model(others).numpy()[0], together[0], rtol=0, atol=1e-5)


@pytest.mark.further_cases
@pytest.mark.parametrize("name", ["widenet_ti16", "vit_ti16"])
@pytest.mark.parametrize("policy, dtype", [("mixed_bfloat16", tf.float32), ("float64", tf.float64)])
def test_policies(policy, dtype, name):
    """Weights stay wide, logits are never below float32, and a step under each policy gives a finite loss."""
    tf.keras.mixed_precision.set_global_policy(policy)
    model = vision.create_model(name, **{**FEW_EXPERTS, "depth": 1})
    logits = model(random_images(2))
    assert logits.dtype == dtype
    assert {weight.dtype for weight in model.weights} == {dtype}
    encoder = model.get_layer("encoder")
    assert encoder.compute_dtype == ("bfloat16" if policy == "mixed_bfloat16" else "float64")
    history = compiled(model).fit(random_images(4), np.arange(4) % 3, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_bfloat16_is_near_float32():
    """The same weights under both policies: bfloat16 has 8 bits, so 0.05 on logits near 1 is a few of its steps."""
    wide = vision.create_model("vit_ti16", **TINY)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    narrow = vision.create_model("vit_ti16", **TINY)
    narrow.set_weights(wide.get_weights())
    images = random_images(4)
    np.testing.assert_allclose(narrow(images), wide(images), rtol=0, atol=0.05)


def test_kernel_regularizer(tmp_path):
    """Its terms, by NumPy over all kernels, are in the loss that Keras computes, and the saved model has it."""
    settings = dict(FEW_EXPERTS, depth=1, kernel_regularizer=tf.keras.regularizers.L2(0.5), balance_weight=0.0)
    model = compiled(vision.create_model("widenet_ti16", **settings))
    kernels = [weight.numpy() for weight in model.weights if last_part(weight).startswith("kernel")]
    assert len(kernels) == 1 + 4 + 1 + 2 * 2 + 2  # patches, attention, router, experts, representation and head
    expected = sum(0.5 * np.sum(np.float64(kernel) ** 2) for kernel in kernels)
    images, labels = random_images(4), tf.constant([0, 1, 2, 0])
    logits = model(images)
    np.testing.assert_allclose(model.compute_loss(images, labels, logits), model.loss(labels, logits) + expected, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = vision.load_model(tmp_path / "model.keras")
    assert again.get_layer("encoder").get_config() == model.get_layer("encoder").get_config()
    np.testing.assert_allclose(sum(again.losses), expected, rtol=1e-5)


class TestInitialValues:
    """A model starts as the paper's code and ViT do: Glorot uniform kernels, zero biases, small random positions."""

    @pytest.fixture(scope="class", params=["vit_ti16", "widenet_ti16"])
    def model(self, request):
        tf.keras.utils.set_random_seed(0)
        # Wide enough for statistics: a kernel has 64 * 64 values or more, the positions 64 * 64.
        settings = dict(depth=2, width=64, heads=4, ffn_dim=128, expert_dim=128, image_size=32, patch_size=4, classes=10)
        return vision.create_model(request.param, **settings)

    def test_kernels(self, model):
        """Uniform in +-sqrt(6 / (fan_in + fan_out)) of each 2-D kernel: the sample's standard deviation is off by under 2 %
        (one sigma is 0.7 % for 4096 values), and the largest value is just inside the limit."""
        kernels = [weight for weight in model.weights if "kernel" in weight.name]
        assert all(kernel.shape.rank == 2 for kernel in kernels)
        for kernel in kernels:
            limit = math.sqrt(6 / sum(kernel.shape))
            values = kernel.numpy()
            assert abs(values).max() <= limit, kernel.name
            if values.size >= 4096:
                assert abs(values).max() > 0.99 * limit, kernel.name
                assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.04), kernel.name
                assert abs(values.mean()) < 0.05 * limit, kernel.name

    def test_patch_kernel(self, model):
        """Glorot's limit of the product, not of a convolution, whose fan-out would count every pixel of the patch."""
        values = model.get_layer("embedding").projection.kernel.numpy()
        inputs = 4 * 4 * 3
        limit = math.sqrt(6 / (inputs + 64))
        assert 0.99 * limit < abs(values).max() <= limit
        assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)

    def test_no_two_kernels_start_equal(self, model):
        """A seeded initializer would make all experts, or all blocks, the same."""
        kernels = [weight.numpy() for weight in model.weights if "kernel" in weight.name]
        for i, kernel in enumerate(kernels):
            assert not any(np.array_equal(kernel, other) for other in kernels[:i])

    def test_biases_and_norms(self, model):
        """Zero, and the norms' gamma one."""
        for weight in model.weights:
            if last_part(weight).startswith(("bias", "beta")):
                assert not weight.numpy().any(), weight.name
            if last_part(weight).startswith("gamma"):
                assert (weight.numpy() == 1).all(), weight.name

    def test_positions(self, model):
        """Normal of standard deviation 0.02, to 5 % (one sigma is 1.1 % for 4096 values)."""
        positions = model.get_layer("embedding").position_embedding.numpy()
        assert positions.shape == (1, 64 + model.name.startswith("vit"), 64)
        assert positions.std() == pytest.approx(0.02, rel=0.05)
        assert abs(positions.mean()) < 0.002
        assert abs(positions).max() > 0.05  # a normal distribution cut off at two deviations would end at 0.04

    def test_class_token(self, model):
        """A ViT has one, a WideNet none, and it is no constant."""
        names = [weight.name for weight in model.weights if "class_token" in weight.name]
        assert len(names) == model.name.startswith("vit")
        if names:
            assert model.get_layer("embedding").class_token_embedding.shape == (1, 1, 64)
            assert any(weight.name == names[0] for weight in model.trainable_weights)


def test_pooling():
    """ "token" reads the first token and "gap" the mean of all: computed from the encoder's own output."""
    for pool in ("token", "gap"):
        model = vision.create_model("vit_ti16", **{**TINY, "pool": pool, "classes": 0, "representation": False})
        tokens = tf.keras.Model(model.input, model.get_layer("encoder").output)(random_images(2)).numpy()
        assert tokens.shape == (2, 5 if pool == "token" else 4, 16)
        expected = tokens[:, 0] if pool == "token" else tokens.mean(axis=1)
        # The same numbers in another order of summation.
        np.testing.assert_allclose(model(random_images(2)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "image_size, patch_size",
    [
        (8, 4),
        *(pytest.param(*sizes, marks=pytest.mark.further) for sizes in (((8, 12), 4), ((8, 12), (2, 6)), (8, (4, 2)))),
        ((12, 8), (6, 2)),
    ],
)
def test_patches_are_rows_of_patches(image_size, patch_size):
    """Token t is the projection of patch t, row by row: against a product of the flattened patches in NumPy."""
    settings = dict(TINY, channels=2, image_size=image_size, patch_size=patch_size)
    model = vision.create_model("widenet_ti16", **settings)
    embedding = model.get_layer("embedding")
    (height, width), (rows, columns) = sides(image_size), sides(patch_size)
    image = np.random.default_rng(0).uniform(-1, 1, (1, height, width, 2)).astype(np.float32)
    kernel, bias = (weight.numpy() for weight in embedding.projection.weights)
    corners = [(row, column) for row in range(0, height, rows) for column in range(0, width, columns)]
    patches = [image[0, row : row + rows, column : column + columns] for row, column in corners]
    expected = np.stack([patch.reshape(-1) for patch in patches]) @ kernel.reshape(-1, 16) + bias
    expected += embedding.position_embedding.numpy()[0]
    # 32 products summed in float32.
    np.testing.assert_allclose(embedding(image)[0], expected, rtol=0, atol=1e-5)
    assert model.input_shape == (None, height, width, 2)
    assert model(image).shape == (1, 3)


@pytest.mark.parametrize("patch_size", [8, (16, 4)])
def test_flops_of_a_dense_vit(patch_size):
    """Equal to TensorFlow's profiler for matrix products, and below all of its operations by what elementwise ones add."""
    settings = dict(depth=2, width=64, heads=4, ffn_dim=256, image_size=32, patch_size=patch_size, channels=3, classes=10)
    model = vision.create_model("vit_ti16", **settings)
    found = profiled_flops(model)
    counted = forward_flops(model)
    assert counted == sum(flops for kind, flops in found.items() if "MatMul" in kind or kind == "Conv2D")
    # Additions, norms, softmax and GELU of this tiny model are a few hundredths of its products.
    assert counted < sum(found.values()) < 1.1 * counted


def test_flops_of_a_widenet():
    """By hand: 4 tokens of width 16, 2 of 4 experts a token, 4 blocks of which 3 are MoE, in 2 routing groups."""
    model = vision.create_model("widenet_ti16", **{**TINY, "depth": 4, "expert_dim": 24, "moe_blocks": 3, "routing_groups": 2})
    patches = 2 * 4 * (4 * 4 * 1) * 16
    attention = 4 * (2 * 4 * 16 * 16) + 2 * (2 * 4 * 4 * 16)  # projections; scores and weighted sum, all heads together
    dense = 2 * (2 * 4 * 16 * 32)
    experts = 2 * (2 * (4 * 2) * 16 * 24)
    router = 2 * 4 * 16 * 4
    # Blocks 0 and 1 share a routing, made by block 1, the first MoE; blocks 2 and 3 the other.
    head = 2 * 16 * 16 + 2 * 16 * 3
    assert forward_flops(model) == patches + 4 * attention + dense + 3 * experts + 2 * router + head


@pytest.mark.size
def test_flops_of_the_paper_s_models():
    """A ViT-B/16 costs 17.6 billion multiply-adds at 224 pixels (its paper's table), so twice that in operations."""
    with tf.Graph().as_default():
        assert forward_flops(vision.create_model("vit_b16")) == pytest.approx(2 * 17.58e9, rel=0.01)
