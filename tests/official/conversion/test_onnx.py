"""Weights in ONNX graphs: made by hand as exporters and quantizers make them, and an export of Hugging Face's BERT."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from official.conversion.onnx_names import Graph, Node
from official.conversion.source import open_source

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def node(kind, name, inputs, output=None, domain="", **attributes):
    return helper.make_node(kind, inputs.split(), [output or f"{name}_output_0"], name=name, domain=domain, **attributes)


def save(path, nodes, tensors):
    """Writes a graph of `node`s with tensors {name: array}."""
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [value], [], initializers)
    onnx.save(helper.make_model(graph), path)
    return path


def read(path, **options):
    """{name: array} of all tensors of a file."""
    source = open_source(path, **options)
    return {name: source.take(name, source.shape(name)) for name in source.names()}


def check(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == np.float32


def test_names_and_layouts_of_an_export(tmp_path):
    """An exporter renames the kernels that it transposes, and keeps shapes and scalars that are no weights."""
    words, kernel, bias, inner, head = random(5, 4), random(4, 6), random(6), random(6, 3), random(2, 6)
    scale, shift, folded, token = random(6), random(6), random(1, 3, 6), random(1, 1, 6)
    nodes = [
        node("Gather", "/embed/words/Gather", "embed.words.weight x"),
        node("MatMul", "/layer.0/query/MatMul", "/embed/words/Gather_output_0 onnx::MatMul_7"),
        node("Add", "/layer.0/query/Add", "layer.0.query.bias /layer.0/query/MatMul_output_0"),
        node("MatMul", "/layer.0/MatMul", "/layer.0/query/Add_output_0 /layer.0/query/Add_output_0"),
        node("ReduceMean", "/layer.0/norm/ReduceMean", "/layer.0/query/Add_output_0"),
        node("Pow", "/layer.0/norm/Pow", "/layer.0/norm/ReduceMean_output_0 /layer.0/norm/Constant_output_0"),
        node("Mul", "/layer.0/norm/Mul", "/layer.0/norm/Pow_output_0 layer.0.norm.weight"),
        node("Add", "/layer.0/norm/Add", "/layer.0/norm/Mul_output_0 layer.0.norm.bias"),
        node("LayerNormalization", "/norm/LayerNormalization", "/layer.0/norm/Add_output_0 norm.weight norm.bias"),
        node("MatMul", "/blocks/blocks.1/fc/MatMul", "/norm/LayerNormalization_output_0 onnx::MatMul_8"),
        node("Concat", "/embed/Concat", "onnx::Concat_9 /norm/LayerNormalization_output_0", axis=1),
        node("Concat", "/embed/Concat_1", "cls_token onnx::Concat_9", axis=1),
        node("Gemm", "/head/Gemm", "/norm/LayerNormalization_output_0 head.weight head.bias", transB=1),
        node("Reshape", "/head/Reshape", "/head/Gemm_output_0 /head/Constant_output_0"),
    ]
    tensors = {
        "embed.words.weight": words,
        "onnx::MatMul_7": kernel,
        "layer.0.query.bias": bias,
        "/layer.0/norm/Constant_output_0": np.float32(2),
        "layer.0.norm.weight": scale,
        "layer.0.norm.bias": shift,
        "norm.weight": scale + 1,
        "norm.bias": shift + 1,
        "onnx::MatMul_8": inner,
        "onnx::Concat_9": folded,
        "cls_token": token,
        "head.weight": head,
        "head.bias": random(2),
        "/head/Constant_output_0": np.array([1, -1]),
    }
    kept = {name: tensors[name] for name in tensors if name[0] not in "/o"}
    expected = {
        **kept,
        "layer.0.query.weight": kernel.T,
        "blocks.1.fc.weight": inner.T,
        "embed.Concat_9": folded,  # the role of what was computed from weights is not known
    }
    path = save(tmp_path / "model.onnx", nodes, tensors)
    check(read(path), expected)
    check(read(path, prefix="layer.0"), {name[8:]: expected[name] for name in expected if name.startswith("layer.0.")})


def test_equal_tensors_that_an_export_holds_once(tmp_path):
    """As Identity, and without it where an optimizer has removed it; a kernel behind a Transpose is as PyTorch has it."""
    zeros, kernel, lone = np.zeros(3, np.float32), random(3, 3), random(4, 3)
    nodes = [
        node("Identity", "Identity_0", "a.bias", "b.bias"),
        node("Transpose", "/a/Transpose", "a.weight", "/a/Transpose_output_0", perm=[1, 0]),
        node("MatMul", "/a/MatMul", "x /a/Transpose_output_0"),
        node("Add", "/a/Add", "a.bias /a/MatMul_output_0"),
        node("MatMul", "/b/MatMul", "x onnx::MatMul_1"),
        node("Add", "/b/Add", "b.bias /b/MatMul_output_0"),
        node("MatMul", "/c/MatMul", "x onnx::MatMul_1"),
        node("Add", "/c/Add", "a.bias /c/MatMul_output_0"),
        # Another call of the module d, with a copy of its kernel; and d_9, which is no call of it.
        node("MatMul", "/d/MatMul", "x onnx::MatMul_2"),
        node("MatMul", "/d_1/MatMul", "x onnx::MatMul_3"),
        node("MatMul", "/d_9/MatMul", "x onnx::MatMul_4"),
    ]
    tensors = {"a.weight": kernel, "a.bias": zeros, "onnx::MatMul_1": kernel.T, "onnx::MatMul_2": lone}
    tensors |= {"onnx::MatMul_3": lone, "onnx::MatMul_4": lone + 1}
    weights = {"a.weight": kernel, "b.weight": kernel, "c.weight": kernel, "d.weight": lone.T, "d_9.weight": lone.T + 1}
    biases = {name: zeros for name in ("a.bias", "b.bias", "c.bias")}
    check(read(save(tmp_path / "model.onnx", nodes, tensors)), {**weights, **biases})


def test_modules_that_the_newer_exporter_writes_down(tmp_path):
    """Its nodes have names of their own, and the paths of the modules around them as metadata."""
    kernel, bias = random(3, 4), random(4)
    nodes = [node("MatMul", "node_MatMul_3", "x val_1", "y"), node("Add", "node_linear_1", "y layer.0.fc.bias", "z")]
    for each in nodes:
        each.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'layer.0', 'layer.0.fc', 'linear_1']")
    path = save(tmp_path / "model.onnx", nodes, {"val_1": kernel, "layer.0.fc.bias": bias})
    check(read(path), {"layer.0.fc.weight": kernel.T, "layer.0.fc.bias": bias})


def quantized_graph():
    """Nodes and tensors as ONNX Runtime's quantizer makes them, and the weights by hand: (q - zero point) * scale."""
    nodes = [
        node("Gather", "/words/Gather_quant", "words.weight_quantized x", "rows"),
        node("DequantizeLinear", "/words/Gather_quant_DequantizeLinear", "rows words.weight_scale zero"),
        node("MatMulInteger", "/query/MatMul_quant", "x onnx::MatMul_1_quantized x_zero onnx::MatMul_1_zero_point", "product"),
        node("Cast", "/query/MatMul_cast", "product", "product_float", to=TensorProto.FLOAT),
        node("Mul", "/query/MatMul_scales", "x_scale onnx::MatMul_1_scale", "scales"),
        node("Mul", "/query/MatMul_scaled", "product_float scales", "/query/MatMul_output_0"),
        node("Add", "/query/Add", "query.bias /query/MatMul_output_0"),
        node("DequantizeLinear", "/key/Dequantize", "onnx::key onnx::key_scale", "key_float", axis=0),
        node("MatMul", "/key/MatMul", "x key_float"),
    ]
    tensors = {
        "words.weight_quantized": np.array([[1, -2], [127, 0], [3, 4]], np.int8),
        "words.weight_scale": np.float32(0.5),
        "zero": np.int8(1),
        "onnx::MatMul_1_quantized": np.array([[0, 255, 7], [128, 100, 9]], np.uint8),
        "onnx::MatMul_1_zero_point": np.array([128, 100, 8], np.uint8),
        "onnx::MatMul_1_scale": np.array([1, 0.25, 2], np.float32),
        "query.bias": np.array([1, 2, 3], np.float32),
        "onnx::key": np.array([[1, 2, 3], [4, 5, 6]], np.int8),
        "onnx::key_scale": np.array([0.5, 2], np.float32),
    }
    expected = {
        "words.weight": [[0, -1.5], [63, -0.5], [1, 1.5]],
        "query.weight": [[-128, 0], [38.75, 0], [-2, 2]],
        "query.bias": [1, 2, 3],
        "key.weight": [[0.5, 8], [1, 10], [1.5, 12]],
    }
    return nodes, tensors, expected


def test_quantized_weights(tmp_path):
    nodes, tensors, expected = quantized_graph()
    path = save(tmp_path / "model.onnx", nodes, tensors)
    check(read(path), expected)
    assert open_source(path).notes == ["3 tensors are integers of 8 bits in the file and were dequantized to float32"]
    assert open_source(path, prefix="words").notes[0].startswith("1 tensors")
    tensors["onnx::MatMul_1_scale"] = np.ones(2, np.float32)
    with pytest.raises(
        ValueError, match=r"model\.onnx: 'onnx::MatMul_1_quantized' has the shape \[2, 3\], and its scales .* \[2\]"
    ):
        read(save(path, nodes, tensors))


def test_half_precision_and_data_beside_the_file(tmp_path):
    kernel, half = random(3, 4), np.array([1, 2.5, -6e-8], np.float16)
    nodes = [node("MatMul", "/a/MatMul", "x onnx::MatMul_1"), node("Add", "/a/Add", "a.bias /a/MatMul_output_0")]
    path = save(tmp_path / "model.onnx", nodes, {"onnx::MatMul_1": kernel, "a.bias": half})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="data.bin", size_threshold=0)
    assert len(path.read_bytes()) < 500
    check(read(path), {"a.weight": kernel.T, "a.bias": half.astype(np.float32)})
    data = (tmp_path / "data.bin").read_bytes()
    (tmp_path / "data.bin").write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"data\.bin cannot be read: 'a\.bias': there are \d bytes from \d+ on in place of 6"):
        read(path)
    (tmp_path / "data.bin").unlink()
    with pytest.raises(ValueError, match=r"data\.bin cannot be read: No such file"):
        read(path)
    (tmp_path / "data.bin").write_bytes(data)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../data.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"model\.onnx cannot be read: 'onnx::MatMul_1': its data is in '\.\./data\.bin'"):
        read(path)


def test_graphs_that_are_refused(tmp_path):
    path = save(tmp_path / "fused.onnx", [node("Attention", "a", "x w", domain="com.microsoft")], {"w": random(2, 6)})
    with pytest.raises(ValueError, match=r"fused\.onnx has nodes Attention, in which weights are packed; it must be the export"):
        open_source(path)
    nodes, tensors, _ = quantized_graph()
    nodes[2].ClearField("output")
    with pytest.raises(ValueError, match=r"fused\.onnx cannot be read: its graph is damaged \(IndexError"):
        open_source(save(path, nodes, tensors))
    for content, message in (
        (b"", "it is empty"),
        (b"PK\x03\x04" + bytes(40), "it is a zip archive"),
        (b"\x80\x02}.", "a pickle"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"fused\.onnx cannot be read: .*{message}"):
            open_source(path)


def test_a_folder_of_an_export(tmp_path):
    """Hugging Face's Optimum puts model.onnx into a folder onnx/ below config.json."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name in ("model.onnx", "model_quantized.onnx"):
        save(tmp_path / "onnx" / name, [node("MatMul", "/a/MatMul", "x w")], {"w": random(2, 6)})
    for path in (tmp_path, tmp_path / "onnx", tmp_path / "onnx" / "model_quantized.onnx"):
        source = open_source(path)
        assert (source.folder, source.config) == (tmp_path, {"model_type": "bert"})
        assert source.path.name == ("model.onnx" if path.is_dir() else path.name)


@pytest.mark.further
def test_an_export_of_hugging_face_is_the_model(tmp_path):
    """Random weights, and the initial ones, many of which are equal and so are held once."""
    torch = pytest.importorskip("torch")
    from transformers import AlbertConfig, AlbertModel

    sizes = dict(hidden_size=8, embedding_size=4, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, vocab_size=20)
    model = AlbertModel(AlbertConfig(**sizes, max_position_embeddings=12)).eval()
    tokens = torch.ones(1, 5, dtype=torch.long)
    for initialize in (None, torch.nn.init.normal_):
        for weight in model.parameters() if initialize else ():
            initialize(weight)
        torch.onnx.export(model, (tokens, tokens), str(tmp_path / "model.onnx"), dynamo=False, opset_version=17)
        expected = {name: weight.numpy() for name, weight in model.state_dict().items()}
        check(read(tmp_path / "model.onnx"), expected)


def test_time_grows_with_the_size():
    """A path of 50,000 modules, and a value that many nodes make: the first has no module, and the second is refused."""
    path = "/" + "a/" * 50_000 + "MatMul"
    nodes = [Node("MatMul", path, None, ["x", "onnx::MatMul_1"], ["y"], {})]
    found, _ = Graph(nodes, {"onnx::MatMul_1": (2, 3)}, {"onnx::MatMul_1": "f"}).weights()
    assert list(found) == ["MatMul_1"]
    short = [nodes[0]._replace(name="/" + "a/" * 50 + "MatMul")]
    found, _ = Graph(short, {"onnx::MatMul_1": (2, 3)}, {"onnx::MatMul_1": "f"}).weights()
    assert list(found) == [".".join("a" * 50) + ".weight"]


def test_a_value_of_two_nodes(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"]) for _ in range(2)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [])
    (tmp_path / "a.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ValueError, match="its graph is damaged: a value is the output of two nodes"):
        open_source(tmp_path / "a.onnx")
