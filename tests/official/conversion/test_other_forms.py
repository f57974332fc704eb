"""Google's forms: .npz files and checkpoints of TensorFlow 1. And files of every form, damaged at many places."""

import zipfile

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import helper, numpy_helper
from safetensors.numpy import save_file

from official.conversion.source import Row, is_source, open_source

ARRAYS = {
    "Transformer/encoderblock_0/LayerNorm_0/scale": np.linspace(0, 1, 3, dtype=np.float32),
    "embedding/kernel": np.arange(12, dtype=np.float32).reshape(4, 3),
    "step": np.arange(2),
}


def save_checkpoint(prefix, **tensors):
    """As TensorFlow 1 saves variables: by name, without an object graph. "__" is "/" in names."""
    names = [name.replace("__", "/") for name in tensors]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(tensors.values()))
    return prefix


def test_npz(tmp_path):
    path = tmp_path / "model.npz"
    np.savez_compressed(path, **ARRAYS, half=np.float16([1, -2.5]), bf16=np.array([0x3F80, 0xC049], "<u2").view("V2"))
    source = open_source(path)
    assert (source.form, source.config, source.shape("embedding/kernel")) == ("flax", {}, (4, 3))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(source.take(name, array.shape), array)
    assert source.take("half").tolist() == [1, -2.5] and source.take("half").dtype == np.float32
    assert source.take("bf16").tolist() == [1, -3.140625]
    assert {row.result for row in source.finish()} == {"loaded"}
    assert open_source(path, prefix="Transformer/encoderblock_0").names() == ["LayerNorm_0/scale"]


def test_npz_with_other_content(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, a=np.ones(2), objects=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match=r"model\.npz: 'objects\.npy' is not an array of numbers; it may be a pickle"):
        open_source(path)
    with zipfile.ZipFile(path, "w") as archive:  # as torch.save writes
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    with pytest.raises(ValueError, match=r"model\.npz: 'archive/data\.pkl' is not an array of numbers; it may be a pickle"):
        open_source(path)
    np.savez(path, words=np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"model\.npz: 'words' has the type <U1; it must be of floats or integers"):
        open_source(path).take("words")
    path.write_bytes(b"\x80\x04}.")
    with pytest.raises(ValueError, match=r"model\.npz cannot be read: it is a pickle"):
        open_source(path)


def test_google_checkpoint(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    slots = dict(bert__kernel__adam_m=kernel, bert__kernel__adam_v=kernel)
    prefix = save_checkpoint(tmp_path / "bert_model.ckpt", bert__kernel=kernel, **slots, global_step=np.int64(7))
    (tmp_path / "bert_config.json").write_text('{"hidden_size": 3}')
    for path in (tmp_path, prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001"):
        source = open_source(path)
        assert (source.form, source.path, source.folder) == ("tensorflow", prefix, tmp_path)
        assert (source.config, source.names()) == ({"hidden_size": 3}, ["bert/kernel"])
    assert is_source(tmp_path) and is_source(prefix)
    source.rename(lambda name: (name.replace("/", "."), (1, 0)))
    np.testing.assert_array_equal(source.take("bert.kernel", (3, 2)), kernel.T)
    assert sorted(source.finish()) == [
        Row("bert/kernel", "[2, 3]", "loaded"),
        Row("bert/kernel/adam_m", "[2, 3]", "dropped", "of the optimizer"),
        Row("bert/kernel/adam_v", "[2, 3]", "dropped", "of the optimizer"),
        Row("global_step", "[]", "dropped", "counts training steps"),
    ]


def test_damaged_google_checkpoints(tmp_path):
    prefix = save_checkpoint(tmp_path / "model.ckpt", kernel=np.ones(20, np.float32))
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"^source=.* is not allowed: .*model\.ckpt: 'kernel' cannot be read"):
        open_source(prefix).take("kernel")
    save_checkpoint(tmp_path / "other", kernel=np.ones(3))
    (tmp_path / "albert_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"the folder has model\.ckpt\.index, other\.index: name one of them"):
        open_source(tmp_path)


def test_a_checkpoint_of_tensorflow_2_is_no_source(tmp_path):
    prefix = tf.train.Checkpoint(a=tf.Variable(1.0)).write(str(tmp_path / "step-1"))
    assert not is_source(prefix) and not is_source(tmp_path)
    with pytest.raises(ValueError, match=r"step-1\.index' is not allowed: "):
        open_source(f"{prefix}.index")


def write_onnx(path):
    weight = numpy_helper.from_array(ARRAYS["embedding/kernel"], "onnx::MatMul_1")
    node = helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["y"], name="/a/MatMul")
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [], [weight])), path)


WRITERS = {
    "model.safetensors": lambda path: save_file(ARRAYS, path),
    "model.npz": lambda path: np.savez(path, **ARRAYS),
    "model.onnx": write_onnx,
}


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_are_refused_in_words(tmp_path, name):
    """Cut short or with one byte changed: a ValueError that names the file, or tensors of the shapes that the file tells."""
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    places = np.linspace(0, len(whole) - 1, 50).astype(int)
    changed = [whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :] for place in places for flip in (0x80, 0xFF, 1)]
    refused = 0
    for content in [whole[:place] for place in places] + changed:
        path.write_bytes(content)
        try:
            source = open_source(path)
            for tensor in source.names():
                assert source.take(tensor).shape == source.shape(tensor)
        except ValueError as error:
            assert str(error).startswith(f"source={str(path)!r} is not allowed: {path}"), error
            refused += 1
    assert refused >= len(places)
