"""Sources: which files are read, which are refused and in which words, and the account of every tensor."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from official.checkpoints.pretrained import Zoo, read_saved
from official.conversion import safetensors_files
from official.conversion.source import Converted, Row, is_source, open_source, tensor_table
from official.files import checked_json

ARRAYS = {
    "embeddings.weight": np.arange(12, dtype=np.float32).reshape(4, 3),
    "layer.0.query.weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "layer.0.query.bias": np.array([0.5, -2], np.float32),
    "position_ids": np.arange(4)[None],
}


def folder_of(path, arrays=ARRAYS, **config):
    """A folder of Hugging Face's layout."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "bert", **config}))
    save_file(arrays, path / "model.safetensors")
    return path


def sharded_folder(path, shards, places=None):
    """A folder with files of their own for several dicts of tensors; `places` replaces the index's own map."""
    path.mkdir()
    found = {}
    for file, arrays in shards.items():
        save_file(arrays, path / file)
        found |= dict.fromkeys(arrays, file)
    index = {"metadata": {}, "weight_map": found if places is None else {**found, **places}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def write_raw(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def refusal(path, **options):
    with pytest.raises(ValueError) as caught:
        open_source(path, "--from", **options)
    message = str(caught.value)
    assert message.startswith(f"--from={str(path)!r} is not allowed: ")
    return message


def test_a_folder_of_hugging_face_is_read(tmp_path):
    folder = folder_of(tmp_path / "model", hidden_size=3)
    source = open_source(folder)
    assert (source.given, source.folder, source.form, source.notes) == (str(folder), folder, "pytorch", [])
    assert source.config == {"model_type": "bert", "hidden_size": 3}
    assert sorted(source.names()) == sorted(ARRAYS)
    assert source.shape("layer.0.query.weight") == (2, 3)
    assert "layer.0.query.bias" in source and "layer.1.query.bias" not in source
    for name, array in ARRAYS.items():
        value = source.take(name, array.shape)
        assert value.dtype == array.dtype
        np.testing.assert_array_equal(value, array)


def test_a_lone_file_has_the_config_beside_it_or_none(tmp_path):
    alone = tmp_path / "alone.safetensors"
    save_file(ARRAYS, alone)
    assert open_source(alone).config == {}
    assert open_source(str(folder_of(tmp_path / "model", depth=2) / "model.safetensors")).config["depth"] == 2


def test_half_precision_is_read_exactly(tmp_path):
    """bfloat16 has no NumPy type; 0x3F80 is 1, 0xC049 is -(1 + 73 / 128) * 2, 0x0001 the smallest subnormal number."""
    bfloat16 = np.array([0x3F80, 0xC049, 0x0001], "<u2")
    float16 = np.array([1, -2.5, 6e-8], np.float16)
    header = {
        "b": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [0, 6]},
        "h": {"dtype": "F16", "shape": [3], "data_offsets": [6, 12]},
        "d": {"dtype": "F64", "shape": [1], "data_offsets": [12, 20]},
        "f8": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [20, 21]},
    }
    data = bfloat16.tobytes() + float16.tobytes() + np.float64(0.1).tobytes() + b"\0"
    source = open_source(write_raw(tmp_path / "half.safetensors", header, data))
    assert source.take("b").tolist() == [[1.0], [-3.140625], [2.0**-133]]
    assert source.take("h").tolist() == [1, -2.5, 2.0**-24]
    assert source.take("d") == np.float32(0.1)
    assert {source.take(name).dtype for name in "bhd"} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match=r"half\.safetensors: 'f8' has the type F8_E4M3; it must be one of F64"):
        source.take("f8")


def test_a_header_is_read_once(tmp_path, monkeypatch):
    """It names all tensors of a file: once for each would be the square of their number."""
    names = [f"b{i}" for i in range(20)]
    header = {name: {"dtype": "BF16", "shape": [1], "data_offsets": [2 * i, 2 * i + 2]} for i, name in enumerate(names)}
    source = open_source(write_raw(tmp_path / "half.safetensors", header, np.full(20, 0x3F80, "<u2").tobytes()))
    parsed, parse = [], safetensors_files.parse_json
    monkeypatch.setattr(safetensors_files, "parse_json", lambda text, where: parsed.append(text) or parse(text, where))
    assert [source.take(name).tolist() for name in names] == [[1.0]] * 20
    assert len(parsed) == 1


def test_names_that_are_dropped(tmp_path):
    """As a set, in one pass, whatever signs of patterns they have."""
    arrays = {name: np.ones(1, np.float32) for name in ("a[0]", "b*", "b1", "c")}
    save_file(arrays, tmp_path / "a.safetensors")
    source = open_source(tmp_path / "a.safetensors")
    assert source.drop({"a[0]", "b*", "d"}, "a reason") == ["a[0]", "b*"]
    assert "b1" in refused_by_finish(source)


def refused_by_finish(source):
    with pytest.raises(ValueError, match="no place for") as refused:
        source.finish()
    return str(refused.value)


def test_shards_are_read_by_their_index(tmp_path):
    names = list(ARRAYS)
    shards = {f"model-0000{i}-of-00002.safetensors": {n: ARRAYS[n] for n in names[i::2]} for i in range(2)}
    folder = sharded_folder(tmp_path / "model", shards)
    for path in (folder, folder / "model.safetensors.index.json"):
        source = open_source(path)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(source.take(name), array)


@pytest.mark.parametrize(
    "places, message",
    [
        ({"c": "3.safetensors"}, r"index\.json names the file '3\.safetensors', which is not beside it"),
        ({"c": "../1.safetensors"}, r"names the file '\.\./1\.safetensors', which is not beside it"),
        ({"c": "2.safetensors"}, r"index\.json says that 'c' is in 2\.safetensors, which does not have it"),
        ({"a": "2.safetensors"}, r"says that 'a' is in 2\.safetensors, but 1\.safetensors has it"),
        ({"a": 1}, 'must have a "weight_map"'),
    ],
)
def test_an_index_that_does_not_agree_with_its_files(tmp_path, places, message):
    shards = {f"{i}.safetensors": {name: np.ones(2, np.float32)} for i, name in ((1, "a"), (2, "b"))}
    shards["1.safetensors"]["d"] = np.ones(1, np.float32)
    folder = sharded_folder(tmp_path / "model", shards, places)
    with pytest.raises(ValueError, match=message):
        open_source(folder)


def test_a_tensor_that_the_index_does_not_name(tmp_path):
    folder = sharded_folder(tmp_path / "model", {"1.safetensors": ARRAYS})
    save_file({**ARRAYS, "more": np.ones(1, np.float32)}, folder / "1.safetensors")
    assert "says that 'more' is in none of the files, but 1.safetensors has it" in refusal(folder)


def test_missing_misshapen_and_not_finite_tensors(tmp_path):
    arrays = {**ARRAYS, "bad": np.array([1, np.nan, np.inf], np.float32)}
    file = folder_of(tmp_path / "model", arrays) / "model.safetensors"
    source = open_source(file.parent, "pretrained")
    given = rf"^pretrained='{file.parent}' is not allowed: {file}"
    with pytest.raises(ValueError, match=rf"{given} has no tensor 'layer.0.query.wieght' \(the nearest is 'layer.0.query"):
        source.take("layer.0.query.wieght")
    with pytest.raises(ValueError, match=rf"{given}: 'embeddings.weight' has the shape \[4, 3\]; it must be \[4, 5\]"):
        source.take("embeddings.weight", (4, 5))
    with pytest.raises(ValueError, match=rf"{given}: 'bad' has 2 values that are NaN or infinite"):
        source.take("bad")


def test_every_tensor_is_accounted_for(tmp_path):
    source = open_source(folder_of(tmp_path / "model"))
    source.take("embeddings.weight")
    with pytest.raises(ValueError, match=r"model\.safetensors has tensors that this model has no place for: 'layer"):
        source.finish()
    assert source.drop("*position_ids", "counts positions") == ["position_ids"]
    assert source.drop("*.attention_mask", "no tensor matches") == []
    assert source.take("position_ids").tolist() == [[0, 1, 2, 3]]  # what is dropped may be looked at
    source.take("layer.0.query.weight")
    source.take("layer.0.query.bias")
    assert sorted(source.finish()) == [
        Row("embeddings.weight", "[4, 3]", "loaded"),
        Row("layer.0.query.bias", "[2]", "loaded"),
        Row("layer.0.query.weight", "[2, 3]", "loaded"),
        Row("position_ids", "[1, 4]", "dropped", "counts positions"),
    ]


def test_tensors_under_other_names_and_in_another_layout(tmp_path):
    source = open_source(folder_of(tmp_path / "model"))
    source.rename(lambda name: (name.replace("query", "q"), (1, 0)) if name.endswith("query.weight") else None)
    source.rename(lambda name: name.replace("layer", "block"))
    assert sorted(source.names()) == ["block.0.q.weight", "block.0.query.bias", "embeddings.weight", "position_ids"]
    assert source.shape("block.0.q.weight") == (3, 2)
    np.testing.assert_array_equal(source.take("block.0.q.weight", (3, 2)), ARRAYS["layer.0.query.weight"].T)
    with pytest.raises(
        ValueError, match=r"'layer\.0\.query\.weight' \(block\.0\.q\.weight\) has the shape \[3, 2\]; it must be \[2, 3\]"
    ):
        source.take("block.0.q.weight", (2, 3))
    source.drop("[!b]*", "others")
    source.take("block.0.query.bias")
    assert {row.weight for row in source.finish()} == set(ARRAYS)
    with pytest.raises(ValueError, match="are the same tensor, x"):
        source.rename(lambda name: "x")
    with pytest.raises(ValueError, match=r"must have 3 axes"):
        source.rename(lambda name: (name, (0, 1, 2)))


def test_a_part_of_a_larger_model(tmp_path):
    folder = folder_of(tmp_path / "model")
    source = open_source(folder, prefix="layer.0")
    assert sorted(source.names()) == ["query.bias", "query.weight"]
    for name in source.names():
        source.take(name)
    assert {row.weight: row.reason for row in source.finish()} == {
        "embeddings.weight": "outside layer.0",
        "layer.0.query.bias": "",
        "layer.0.query.weight": "",
        "position_ids": "outside layer.0",
    }
    assert "has no tensors in layer.0.qury (the nearest is 'layer.0.query')" in refusal(folder, prefix="layer.0.qury")


PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@pytest.mark.parametrize(
    "content, message",
    [
        (PICKLE, "it is a pickle; save the model with `save_pretrained"),
        (b"PK\x03\x04" + bytes(60), r"it is a zip archive, as PyTorch's `torch.save` writes; save"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "it is the pointer of Git LFS in place of the file"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"", "it is empty"),
        (b"abc", "header"),
    ],
)
def test_other_content_under_the_name(tmp_path, content, message):
    folder = folder_of(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^source=.*model\.safetensors cannot be read: .*{message}"):
        open_source(folder)


def test_a_header_may_begin_like_a_pickle(tmp_path):
    """The length of a header of 640 bytes begins with a pickle's first two bytes."""
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header["__metadata__"] = {"pad": " " * (640 - len(json.dumps({**header, "__metadata__": {"pad": ""}})))}
    path = write_raw(tmp_path / "a.safetensors", header, np.float32(3).tobytes())
    assert path.read_bytes()[:2] == PICKLE[:2]
    assert open_source(path).take("a") == [3]


def test_a_config_that_is_none(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "model")
    (folder / "config.json").write_text("[1]")
    assert "config.json cannot be read: it must hold a JSON object" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read: Expecting property name" in refusal(folder)
    for content, said in (("", "it is empty"), ("[" * 100_000, "it is nested too deeply"), ("3", "it must hold a JSON object")):
        (folder / "config.json").write_text(content)
        assert f"config.json cannot be read: {said}" in refusal(folder)
    monkeypatch.setattr(checked_json, "MAX_BYTES", 3)
    (folder / "config.json").write_text("{   }")
    assert "config.json cannot be read: it has more than 3 bytes" in refusal(folder)


def test_folders_without_weights(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty).endswith("; the folder is empty")
    (empty / "config.json").write_text('{"model_type": "bert"}')
    assert refusal(empty).endswith("; the folder has no weights")
    (empty / "checkpoints").mkdir()
    assert refusal(empty).endswith("; the folder has a run or a SavedModel, which is converted with --to=huggingface only")
    (empty / "checkpoints").rmdir()
    (empty / "tf_model.h5").touch()
    assert "tf_model.h5: weights of TensorFlow in this form are not read; save the model" in refusal(empty)
    (empty / "pytorch_model.bin").write_bytes(PICKLE)
    assert "pytorch_model.bin: files of PyTorch are pickles, which can run code when they are read; save" in refusal(empty)
    save_file(ARRAYS, empty / "a.safetensors")
    save_file(ARRAYS, empty / "b.safetensors")
    assert "the folder has a.safetensors, b.safetensors and no index of them: name one of them" in refusal(empty)
    assert "no such file or folder" in refusal(tmp_path / "nowhere.safetensors")
    assert refusal("owner/model").endswith("and nothing is downloaded: a model of a hub must be in a folder first")
    assert refusal("").endswith("; it is empty")  # not the working directory
    save_file({}, empty / "none.safetensors")
    assert "none.safetensors has no tensors" in refusal(empty / "none.safetensors")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    message = refusal(folder_of(tmp_path / "model"))
    assert message.endswith(
        "files .safetensors need safetensors, which is not installed: pip install '.[weights]' in the checkout"
    )


def test_is_source(tmp_path):
    folder = folder_of(tmp_path / "model")
    workdir = tmp_path / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "config.json").write_text('{"model": {}, "name": "bert"}')
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model": {}}')
    yes = [folder, str(folder), folder / "model.safetensors", "new.safetensors", "a/model.safetensors.index.json", "model.bin"]
    no = [
        workdir,
        other,
        tmp_path,
        tmp_path / "none",
        "publisher/model/1",
        None,
        b"a.safetensors",
        "a\0b",
        "model.h5",
        "model.keras",
        "",
    ]
    assert [is_source(path) for path in yes] == [True] * len(yes)
    assert [is_source(path) for path in no] == [False] * len(no)


def test_a_zoo_that_converts_takes_sources(tmp_path):
    """Without `convert` the path is looked up as a model of this project, as ever."""
    zoo = Zoo({"depth": 1}, None, None, None, None)
    folder = folder_of(tmp_path / "model", depth=2)
    with pytest.raises(ValueError, match=r"pretrained=.* is not allowed: it must be the workdir of a run"):
        read_saved(zoo, folder, "pretrained")

    def convert(source):
        source.notes.append("half of it was guessed")
        weights = {"embedding": source.take("embeddings.weight")}
        source.drop("layer.*", "others")
        source.drop("position_ids", "counts positions")
        return Converted("tiny", {"depth": source.config["depth"]}, weights, source.finish())

    saved = read_saved(zoo._replace(convert=convert), folder, "pretrained")
    assert (saved.given, saved.name, saved.settings) == (str(folder), "tiny", {"depth": 2})
    np.testing.assert_array_equal(saved.weights["embedding"], ARRAYS["embeddings.weight"])


def test_a_line_for_the_tensors_of_all_blocks():
    """In their order, 10 after 9 and before 11; what differs in shape or result stays apart."""
    rows = [Row(f"layer.{i}.bias", "[4]", "loaded") for i in (0, 1, 3, *range(8, 12))]
    rows += [Row("layer.4.bias", "[5]", "loaded"), Row("norm", "[4]", "loaded"), Row("layer.7.bias", "[4]", "dropped", "why")]
    lines = [line.split(maxsplit=3) for line in tensor_table(rows).splitlines()]
    assert tensor_table(rows).splitlines()[1].startswith("layer.0..1, 3, 8..11.bias  [4]    loaded")
    assert [line[-1] for line in lines[2:4]] == ["loaded", "loaded"]
    assert len(lines) == 5
