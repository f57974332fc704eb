"""Published vision transformers as models of the zoo: equal outputs, what is dropped, and what is refused."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

import vision
from official.conversion.source import open_source
from tests.vision.conversion import foreign
from tests.vision.conversion.foreign import DINOV2, PIXELS, VIT, random_tensors, shapes, write
from vision.conversion.importing import convert, convert_images
from vision.transfer import resample_positions

# Sums of about 50 products of values up to 10 in float32.
TOLERANCE = dict(rtol=0, atol=3e-5)


def images(size=8, count=2):
    """Float32 [count, size, size, 3] in [-1, 1]."""
    return np.random.default_rng(1).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def normalized(pixels, image_mean=(0.5,), image_std=(0.5,)):
    """What Hugging Face's image processor makes of the same images: [count, channels, height, width]."""
    return (((pixels.astype(np.float64) + 1) / 2 - image_mean) / image_std).transpose(0, 3, 1, 2)


def assert_equal_blocks(model_path, blocks, **given):
    """The model gives, of the patches of each block, the values of `blocks` without those of the class token."""
    model = vision.load_model(model_path, features_only=True, **given)
    found = model(images())
    assert len(found) == len(blocks)
    for own, expected in zip(found, blocks, strict=True):
        np.testing.assert_allclose(own, expected[:, 1:].reshape(own.shape), **TOLERANCE)


@pytest.mark.parametrize("config", [VIT, DINOV2], ids=["vit", "dinov2"])
def test_every_block_and_the_features(config, tmp_path):
    """LayerScale, and mean and deviation of the pixels, are in the weights. The features follow from all blocks."""
    tensors = random_tensors(shapes(config))
    folder = write(tmp_path, config, tensors, preprocessor_config=PIXELS)
    blocks, final = foreign.outputs(config, tensors, normalized(images(), **PIXELS))
    np.testing.assert_allclose(vision.load_model(folder)(images()), final[:, 0], **TOLERANCE)
    if config is VIT:
        assert_equal_blocks(folder, blocks)


def test_a_pooler_is_the_representation_layer(tmp_path):
    """And another activation, no biases of query, key and value, and weights in a part of a larger model."""
    config = {**VIT, "qkv_bias": False, "hidden_act": "gelu_new", "model_type": "deit"}
    tensors = random_tensors(shapes(config, pooler=True))
    tensors = {name: value for name, value in tensors.items() if not re.search(r"(query|key|value)\.bias", name)}
    larger = {**{f"model.deit.{name}": value for name, value in tensors.items()}, "decoder.weight": np.ones(3, np.float32)}
    folder = write(tmp_path, config, larger, preprocessor_config={"do_normalize": False})
    _, final = foreign.outputs(config, tensors, normalized(images(), (0.0,), (1.0,)))
    expected = np.tanh(final[:, 0] @ tensors["pooler.dense.weight"].T.astype(np.float64) + tensors["pooler.dense.bias"])
    model = vision.load_model(folder)
    np.testing.assert_allclose(model(images()), expected, **TOLERANCE)
    for part in ("query", "key", "value"):
        assert not getattr(model.get_layer("encoder").attentions[1], part).bias.numpy().any()
    rows = {row.weight: row for row in convert(open_source(folder)).rows}
    assert rows.keys() == larger.keys()
    assert rows.pop("decoder.weight")[2:] == ("dropped", "outside model.deit")
    assert {row.result for row in rows.values()} == {"loaded"}


def test_a_classifier_and_its_classes(tmp_path):
    """A pooler beside it is not a part of it."""
    config = {**VIT, "id2label": {"0": "cat", "2": "gnu", "1": "dog"}}
    tensors = random_tensors(shapes(config, "vit.", pooler=True, classes=3))
    processor = dict(PIXELS, do_center_crop=True, size={"shortest_edge": 16}, crop_size={"height": 8, "width": 8}, resample=3)
    source = open_source(write(tmp_path, config, tensors, preprocessor_config=processor))
    inner = {name.removeprefix("vit."): value for name, value in tensors.items()}
    _, final = foreign.outputs(config, inner, normalized(images(), **PIXELS))
    expected = final[:, 0] @ inner["classifier.weight"].T.astype(np.float64) + inner["classifier.bias"]
    np.testing.assert_allclose(vision.load_model(tmp_path)(images()), expected, **TOLERANCE)
    converted, data = convert_images(source)
    assert data == {"classes": ["cat", "dog", "gnu"], "eval_crop": 0.5}
    dropped = {row.weight for row in converted.rows if row.result == "dropped"}
    assert dropped == {"vit.pooler.dense.weight", "vit.pooler.dense.bias"}
    assert any("bicubically" in note for note in source.notes)
    assert (converted.settings["classes"], converted.settings["norm_epsilon"]) == (3, 1e-3)


def test_dinov2s_classifier_is_dropped(tmp_path):
    """It reads the class token and the mean of the patches; the features are those of the class token."""
    tensors = random_tensors({**shapes(DINOV2, "dinov2."), **foreign.linear("classifier", 16, 3)})
    source = open_source(write(tmp_path, {**DINOV2, "id2label": {"0": "a", "1": "b", "2": "c"}}, tensors))
    converted = convert(source)
    assert converted.settings["classes"] == 0
    assert {row.weight for row in converted.rows if row.result == "dropped"} == {
        "classifier.weight",
        "classifier.bias",
        "dinov2.embeddings.mask_token",
    }
    assert any("its classifier is left out" in note for note in source.notes)
    assert any("image_mean=(0.485, 0.456, 0.406)" in note for note in source.notes)


def test_another_image_size(tmp_path):
    """Positions are resampled as in PyTorch: by this project's function, which is compared with PyTorch's."""
    folder = write(tmp_path, VIT, random_tensors(shapes(VIT)))
    before = convert(open_source(folder)).weights["embedding/position_embedding"]
    after = vision.load_model(folder, image_size=(16, 12)).get_layer("embedding").position_embedding.numpy()
    np.testing.assert_array_equal(after[:, 1:], resample_positions(before[:, 1:], (4, 3), cubic=-0.75))


def test_create_model_takes_what_fits(tmp_path):
    tensors = random_tensors(shapes(VIT))
    folder = write(tmp_path, VIT, tensors)
    sizes = dict(width=8, heads=2, ffn_dim=12, depth=2, image_size=8, patch_size=4, classes=3)
    model = vision.create_model("vit_ti16", **sizes, pretrained=folder)
    expected = tensors["encoder.layer.1.intermediate.dense.weight"].T
    np.testing.assert_array_equal(model.get_layer("encoder").dense_layers[1].kernel_in, expected)


GOOGLE = {**VIT, "hidden_act": "gelu_new", "layer_norm_eps": 1e-6}


class TestGoogle:
    """Files .npz; GELU is that of Flax, the one by tanh, and epsilon 1e-6."""

    def source(self, tmp_path, tensors):
        np.savez(tmp_path / "vit.npz", **foreign.google_tensors(GOOGLE, tensors))
        return tmp_path / "vit.npz"

    def test_the_logits(self, tmp_path):
        tensors = random_tensors(shapes(GOOGLE, pooler=True, classes=3))
        path = self.source(tmp_path, tensors)
        _, final = foreign.outputs(GOOGLE, tensors, normalized(images()))
        pooled = np.tanh(final[:, 0] @ tensors["pooler.dense.weight"].T.astype(np.float64) + tensors["pooler.dense.bias"])
        logits = pooled @ tensors["classifier.weight"].T.astype(np.float64) + tensors["classifier.bias"]
        np.testing.assert_allclose(vision.load_model(path)(images()), logits, **TOLERANCE)
        converted, data = convert_images(open_source(path))
        assert converted.settings["position_cubic"] == -0.5
        assert data["classes"] == ["0", "1", "2"]

    def test_without_class_token(self, tmp_path):
        """A model of the mean of all tokens, with as many positions as patches."""
        tensors = foreign.google_tensors(GOOGLE, random_tensors(shapes(GOOGLE)))
        del tensors["cls"]
        tensors["Transformer/posembed_input/pos_embedding"] = tensors["Transformer/posembed_input/pos_embedding"][:, 1:]
        np.savez(tmp_path / "vit.npz", **tensors)
        settings = convert(open_source(tmp_path / "vit.npz")).settings
        assert (settings["pool"], settings["classes"], settings["representation"]) == ("gap", 0, False)
        assert (settings["image_size"], settings["patch_size"], settings["heads"]) == (8, 4, 2)


class TestWithoutConfig:
    """A lone file: what shapes do not tell is asked for."""

    @pytest.fixture
    def file(self, tmp_path):
        save_file(random_tensors(shapes(VIT)), tmp_path / "vit.safetensors")
        return tmp_path / "vit.safetensors"

    def test_is_asked_for(self, file):
        with pytest.raises(ValueError, match=r"do not tell heads, norm_epsilon, activation: they must be given, as heads=\.\.\."):
            vision.load_model(file)

    def test_an_epsilon_that_is_none(self, file):
        with pytest.raises(ValueError, match="norm_epsilon=nan is not allowed: it must be a finite number above 0"):
            convert(open_source(file), dict(heads=2, norm_epsilon=float("nan"), activation="gelu"))

    def test_is_given(self, file):
        """Then settings and weights are those of the same tensors with a config."""
        found = convert(open_source(file), dict(heads=2, norm_epsilon=1e-3, activation="gelu"))
        expected = convert(open_source(write(file.parent / "model", VIT, random_tensors(shapes(VIT)))))
        assert found.settings == expected.settings
        for name in expected.weights:
            np.testing.assert_array_equal(found.weights[name], expected.weights[name], err_msg=name)

    def test_positions_in_two_tensors(self, tmp_path):
        """As in a traced ONNX file, whose positions have no name of their own."""
        tensors = random_tensors(shapes(VIT))
        positions = tensors.pop("embeddings.position_embeddings")
        tensors |= {"embeddings.Reshape_12": positions[:, 1:].copy(), "embeddings.Concat_7": positions[:, :1].copy()}
        save_file(tensors, tmp_path / "vit.safetensors")
        converted = convert(open_source(tmp_path / "vit.safetensors"), dict(heads=2, norm_epsilon=1e-3, activation="gelu"))
        np.testing.assert_array_equal(converted.weights["embedding/position_embedding"], positions)

    def test_a_size_for_patches_that_are_no_square(self, tmp_path):
        tensors = random_tensors(shapes(VIT))
        tensors["embeddings.position_embeddings"] = np.ones((1, 7, 8), np.float32)
        save_file(tensors, tmp_path / "vit.safetensors")
        given = dict(heads=2, norm_epsilon=1e-3, activation="gelu")
        with pytest.raises(ValueError, match="6 positions of patches, which are no square: image_size="):
            convert(open_source(tmp_path / "vit.safetensors"), given)
        assert convert(open_source(tmp_path / "vit.safetensors"), {**given, "image_size": (8, 12)}).settings["image_size"] == (
            8,
            12,
        )


@pytest.mark.parametrize(
    "changes, extra, message",
    [
        (
            {"model_type": "clip_vision_model"},
            {},
            "'clip_vision_model', which must be one of vit, deit, dinov2: the norm",
        ),
        ({"model_type": "resnet"}, {}, r"model_type='resnet', which must be one of vit, deit, dinov2$"),
        ({}, {"embeddings.distillation_token": (1, 1, 8)}, r"'embeddings\.distillation_token' is of a distillation token"),
        ({}, {"embeddings.register_tokens": (1, 4, 8)}, "registers"),
        ({}, {"pre_layrnorm.weight": (8,)}, "ln_pre, as in CLIP"),
        ({"use_swiglu_ffn": True}, {}, "SwiGLU"),
        ({"hidden_act": "quick_gelu"}, {}, "hidden_act='quick_gelu', which must be one of gelu, "),
        ({"hidden_size": 16}, {}, "config.json has hidden_size=16, and the tensors 8"),
        ({"num_hidden_layers": 3}, {}, "config.json has num_hidden_layers=3, and the tensors 2"),
        ({"intermediate_size": 16}, {}, "config.json has intermediate_size=16, and the tensors 12"),
        ({"num_attention_heads": 3}, {}, "heads=3 must divide the width 8"),
        ({"num_attention_heads": "2"}, {}, "config.json: num_attention_heads='2' is not allowed"),
        ({"image_size": 16}, {}, "4 positions of patches, which image_size=16 and patch_size=4 do not have"),
        ({"image_size": "8"}, {}, "config.json: image_size='8' is not allowed: it must be an integer"),
        ({"patch_size": 2}, {}, "config.json has patch_size=2, and the tensors 4"),
        ({"qkv_bias": False}, {}, r"no place for: 'encoder\.layer\.0\.attention\.attention\.key\.bias'"),
        ({"layer_norm_eps": "small"}, {}, "config.json: layer_norm_eps='small' is not allowed"),
        ({}, {"encoder.layer.0.extra.weight": (8,)}, r"no place for: 'encoder\.layer\.0\.extra\.weight'"),
        ({}, {"layernorm.weight": (9,)}, r"'layernorm\.weight' has the shape \[9\]; it must be \[8\]"),
        ({}, {"layernorm.weight": None}, r"has no tensor 'layernorm\.weight'"),
        ({}, {"encoder.layer.1.output.dense.bias": None}, r"has no tensor 'encoder\.layer\.1\.output\.dense\.bias'"),
        ({}, {"embeddings.cls_token": None}, r"must have one tensor \.\.\.'embeddings\.cls_token', and it has none"),
        ({}, {"other.embeddings.cls_token": (1, 1, 8)}, "--prefix names one of them"),
    ],
)
def test_refused(changes, extra, message, tmp_path):
    """By the source, and the setting or the tensor; nothing is guessed."""
    found = {name: shape for name, shape in {**shapes(VIT), **extra}.items() if shape is not None}
    folder = write(tmp_path / "model", {**VIT, **changes}, random_tensors(found))
    with pytest.raises(ValueError, match=message) as error:
        convert(open_source(folder, "--from"))
    assert str(error.value).startswith(f"--from={str(folder)!r} is not allowed: ")


@pytest.mark.parametrize(
    "processor, message",
    [
        ({"image_mean": [0.5, 0.5]}, r"image_mean=\[0\.5, 0\.5\] must be 3 numbers"),
        ({"image_mean": [123.7, 116.3, 103.5]}, r"image_mean=\[123\.7, 116\.3, 103\.5\] must be from 0 to 1, as the pixels are"),
        ({"rescale_factor": "x"}, "rescale_factor='x' must be a number$"),
        ({"image_std": 0}, "image_std=0 must be above 0"),
        ({"image_std": "much"}, "image_std='much' must be 3 numbers"),
    ],
)
def test_refused_pixels(processor, message, tmp_path):
    folder = write(tmp_path, VIT, random_tensors(shapes(VIT)), preprocessor_config=processor)
    with pytest.raises(ValueError, match=message):
        convert(open_source(folder))


def test_query_biases_that_the_config_leaves_open(tmp_path):
    tensors = random_tensors(shapes(VIT))
    weights = convert(open_source(write(tmp_path, {**VIT, "qkv_bias": None}, tensors))).weights
    bias = tensors["encoder.layer.0.attention.attention.query.bias"]
    np.testing.assert_array_equal(weights["encoder/attention_0/query/bias"], bias)


def test_unknown_pixels_of_one_channel(tmp_path):
    config = dict(DINOV2, num_channels=1)
    folder = write(tmp_path, config, random_tensors(shapes(config)))
    with pytest.raises(ValueError, match="has 1 channels, and nothing tells how they are .* needs --image_mean"):
        convert(open_source(folder))
    convert(open_source(folder), dict(image_mean=0.5, image_std=0.2))


def test_class_names_of_another_number(tmp_path):
    folder = write(tmp_path, {**VIT, "id2label": {"0": "a"}}, random_tensors(shapes(VIT, "vit.", classes=3)))
    with pytest.raises(ValueError, match="id2label of 1 classes, and the classifier 3 outputs"):
        convert(open_source(folder))


def test_pixels_in_the_middle_change_nothing(tmp_path):
    """A mean and a deviation of 0.5 are those of the zoo: the patch projection stays as it is, bit by bit."""
    tensors = random_tensors(shapes(VIT))
    processor = dict(image_mean=0.5, image_std=[0.5], rescale_factor=0.00392156862745098)
    weights = convert(open_source(write(tmp_path, VIT, tensors, preprocessor_config=processor))).weights
    kernel = tensors["embeddings.patch_embeddings.projection.weight"]
    np.testing.assert_array_equal(weights["embedding/projection/kernel"], kernel.transpose(2, 3, 1, 0).reshape(48, 8))
    np.testing.assert_array_equal(weights["embedding/projection/bias"], tensors["embeddings.patch_embeddings.projection.bias"])
