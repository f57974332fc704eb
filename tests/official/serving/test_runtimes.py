"""Exported models in other runtimes: the same outputs, and refusal if they differ."""

import json

import numpy as np
import pytest
import tensorflow as tf

from official import export, train
from official.export import export_for_runtimes
from official.serving import onnx_format, runtimes, tflite_format
from official.serving.onnx_format import OnnxModel
from official.serving.runtimes import REPORT_FILE, convert
from official.serving.signatures import numeric_signature
from official.serving.tflite_format import TFLiteModel
from tests.bert.prepared_texts import write_tsv, write_vocabulary
from tests.bert.tiny import classification_config
from tests.official.fresh_exports import export_fresh
from tests.official.serving.test_signatures import NUMBERS, doubled, save
from tests.official.tiny import tiny_config

# Every runtime rounds float32 differently; wrong operations differ by orders of magnitude more.
CLOSE = 1e-5
LARGE = {"model.width": 64, "model.expert_dim": 64}  # TFLite quantizes kernels from 1,024 elements on


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A fresh SavedModel of the digits recipe, and its Keras model."""
    folder = tmp_path_factory.mktemp("images")
    tf.keras.utils.set_random_seed(0)
    return folder / "saved_model", export_fresh(tiny_config(LARGE), folder / "saved_model")


@pytest.fixture(scope="module")
def converted(images, tmp_path_factory):
    """(folder, report) of both formats."""
    output = tmp_path_factory.mktemp("converted") / "of" / "digits"
    return output, convert(images[0], ["onnx", "tflite"], output, split="validation", compared=20, evaluated=40, rounds=2)


@pytest.mark.convert
class TestImages:
    @pytest.mark.smoke
    def test_report(self, converted):
        """Every model has size and latency at both batch sizes; float32 models keep to the limit and lose no accuracy."""
        folder, written = converted
        assert json.loads((folder / REPORT_FILE).read_text()) == written
        assert sorted(path.name for path in folder.iterdir()) == ["model-int8.tflite", "model.onnx", "model.tflite", REPORT_FILE]
        assert not list(folder.parent.glob("*.partial"))
        assert written["examples"] == "the first 20 examples of the recipe's validation split"
        assert set(written["packages"]) == {"tf2onnx", "onnx", "onnxruntime"}
        original, onnx, lite, int8 = written["models"]
        assert [row["file"] for row in written["models"]] == [None, "model.onnx", "model.tflite", "model-int8.tflite"]
        for row in written["models"]:
            assert all(row["milliseconds"][batch] > 0 for batch in ("1", "32"))
            # 40 examples need three batches of 16.
            assert round(row["metrics"]["top_1"] * 48, 6) == round(row["metrics"]["top_1"] * 48)
        for row in (onnx, lite):
            assert row["largest"] < CLOSE
            assert (row["examples"], row["flipped"]) == (20, 0)
            assert row["bytes"] == (folder / row["file"]).stat().st_size
            assert row["metrics"]["top_1"] == original["metrics"]["top_1"]
            assert row["metrics"]["loss"] == pytest.approx(original["metrics"]["loss"], abs=CLOSE)
        assert int8["bytes"] < 0.6 * lite["bytes"]
        assert 0 < int8["largest"] < 1
        assert int8["metrics"]["loss"] == pytest.approx(original["metrics"]["loss"], abs=0.2)

    @pytest.mark.parametrize("batch", [1, 7, 64])
    def test_answers_of_any_batch(self, images, converted, batch):
        """Equal to the Keras model's for one example, in batches whose tokens all want the same experts."""
        folder, _ = converted
        alone = np.random.default_rng(1).uniform(-1, 1, [1, 8, 8, 1]).astype(np.float32)
        expected = images[1](alone, training=False).numpy()
        for model in (OnnxModel(folder / "model.onnx"), TFLiteModel(folder / "model.tflite")):
            (found,) = model({"images": np.repeat(alone, batch, axis=0)}).values()
            np.testing.assert_allclose(found, np.repeat(expected, batch, axis=0), atol=CLOSE)

    def test_the_table(self, converted, capsys):
        runtimes.report(*converted)
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split()[:3] == ["model", "MiB", "difference"]
        assert [line.split("  ")[0] for line in lines[2:6]] == ["SavedModel", "ONNX", "TFLite", "TFLite, int8"]
        assert "top_1 0." in lines[5]

    def test_unknown_format(self, images, tmp_path):
        with pytest.raises(
            ValueError,
            match="^--format=torch is not allowed: it must be saved_model, or some of onnx, tflite, with commas$",
        ):
            convert(images[0], ["onnx", "torch"], tmp_path / "out")

    def test_a_folder_of_other_things(self, images, tmp_path):
        """Also beside an earlier conversion, whose folder would be replaced."""
        (tmp_path / "letter.txt").write_text("mine")
        for name in ("letter.txt", runtimes.REPORT_FILE):
            (tmp_path / name).write_text("mine")
            with pytest.raises(ValueError, match="must be a new path or a folder with nothing but an earlier conversion"):
                convert(images[0], ["tflite"], tmp_path)
            assert (tmp_path / "letter.txt").read_text() == "mine"

    def test_a_missing_package(self, images, tmp_path, monkeypatch):
        def version(name):
            raise runtimes.metadata.PackageNotFoundError

        monkeypatch.setattr(runtimes.metadata, "version", version)
        words = r"^--format=onnx needs tf2onnx, which is not installed: pip install '\.\[onnx\]' in the checkout$"
        with pytest.raises(ModuleNotFoundError, match=words):
            convert(images[0], ["onnx"], tmp_path / "out")


class Twisted:
    """A runtime with wrong outputs for the first example of every batch."""

    def __init__(self, path):
        self._model = TFLiteModel(path)

    def __call__(self, inputs):
        return {name: array + 0.01 * (np.arange(len(array)) == 0)[:, np.newaxis] for name, array in self._model(inputs).items()}


@pytest.mark.convert
class TestWrongAnswers:
    """The TFLite file is copied, since converting it again takes long."""

    @pytest.fixture
    def twisted(self, converted, monkeypatch):
        content = (converted[0] / "model.tflite").read_bytes()
        variant = runtimes.Variant("it", "it.tflite", lambda _, path: path.write_bytes(content), Twisted, 1e-4)
        monkeypatch.setitem(runtimes.FORMATS, "tflite", [variant])

    def test_refused_and_the_old_files_stay(self, images, twisted, tmp_path):
        output = tmp_path / "out"
        output.mkdir()
        (output / REPORT_FILE).write_text("old")
        with pytest.raises(
            ValueError, match=r"^The outputs of it differ by 0\.01 .* most in example 0 .* expert lie [\d.e-]+ apart$"
        ):
            convert(images[0], ["tflite"], output, examples="random", compared=4)
        assert [path.name for path in tmp_path.rglob("*")] == ["out", REPORT_FILE]
        assert (output / REPORT_FILE).read_text() == "old"

    def test_near_ties_are_counted(self, images, twisted, tmp_path, monkeypatch):
        """Experts with equal probabilities: every example is a near tie, and the first of each batch flips."""
        read = runtimes.read_weights

        def without_router(path):
            return {name: array * ("router" not in name) for name, array in read(path).items()}

        monkeypatch.setattr(runtimes, "read_weights", without_router)
        written = convert(images[0], ["tflite"], tmp_path / "out", examples="random", compared=20, evaluated=0, rounds=1)
        row = written["models"][1]
        assert (row["examples"], row["near_ties"], row["flipped"]) == (20, 20, 2)
        assert row["largest"] < CLOSE


@pytest.mark.convert
class TestTexts:
    @pytest.fixture(scope="class")
    def texts(self, tmp_path_factory):
        """The encoder and the whole classifier of a tiny text recipe."""
        folder = tmp_path_factory.mktemp("texts")
        write_vocabulary(folder / "vocab.txt", ("good", "bad", "film", "a"))
        rows = [(f"a {word} film {'a ' * (i % 5)}", word) for i, word in enumerate(["good", "bad"] * 8)]
        for name in ("train.tsv", "dev.tsv"):
            write_tsv(folder / name, ("text", "label"), *rows)
        data = dict(name="file", dir=str(folder), train_file="train.tsv", validation_file="dev.tsv")
        config = classification_config(folder / "vocab.txt", data)
        for part in ("model", "encoder"):
            export_fresh(config, folder / part, part)
        return folder

    def test_both_formats(self, texts):
        """Batches of any length, with padding; their shape is unknown to the converters."""
        place, written = export_for_runtimes(
            str(texts / "model"), ["onnx", "tflite"], split="validation", compared=8, evaluated=8, rounds=1
        )
        assert place == texts / "model_onnx-tflite"
        assert written["signature"] == "tokens"
        for row in written["models"][1:3]:
            assert row["largest"] < CLOSE
            assert row["metrics"] == pytest.approx(written["models"][0]["metrics"], abs=CLOSE)
        for length in (3, 9):
            mask = (np.arange(length) < [[length], [2], [1]]).astype(np.int32)
            inputs = dict(input_word_ids=5 * mask, input_mask=mask, input_type_ids=0 * mask)
            expected = numeric_signature(texts / "model")(inputs)
            for model in (OnnxModel(place / "model.onnx"), TFLiteModel(place / "model.tflite")):
                found = model(inputs)
                for name, array in expected.items():
                    np.testing.assert_allclose(found[name], array, atol=CLOSE)

    def test_an_encoder(self, texts):
        """It is compared, routers included, but not evaluated, since it has no head."""
        _, written = export_for_runtimes(str(texts / "encoder"), ["onnx"], split="validation", compared=8, rounds=1)
        row = written["models"][1]
        assert row["largest"] < CLOSE
        assert row["near_ties"] == 0
        assert "metrics" not in row


MATRIX = tf.TensorSpec([None, 2, 2], tf.float32, name="x")


class TestOtherModels:
    """SavedModels of other projects, without a recipe."""

    @pytest.mark.parametrize("write, words", [(onnx_format.convert, "ONNX"), (tflite_format.convert, "TFLite")])
    def test_missing_operation(self, write, words, tmp_path):
        model = save(tmp_path / "m", serve=(lambda x: {"y": tf.linalg.inv(x)}, MATRIX))
        with pytest.raises(ValueError, match=f"^{words} has no MatrixInverse, which 'serve' uses$"):
            write(numeric_signature(model), tmp_path / "file")
        assert not (tmp_path / "file").exists()

    @pytest.mark.parametrize("write", [onnx_format.convert, tflite_format.convert, tflite_format.convert_quantized])
    @pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float64])
    def test_another_precision(self, write, dtype, tmp_path):
        model = save(tmp_path / "m", serve=(lambda x: {"y": tf.matmul(tf.cast(x, dtype), tf.ones([2, 2], dtype))}, NUMBERS))
        with pytest.raises(ValueError, match=f"^'serve' computes in {dtype.name}, and .* needs a model in float32$"):
            write(numeric_signature(model), tmp_path / "file")

    def test_without_a_recipe(self, tmp_path):
        """Random examples, no accuracy, and unknown near ties."""
        model = save(tmp_path / "m", serve=(doubled, NUMBERS))
        written = convert(model, ["onnx"], tmp_path / "out", compared=5, rounds=1)
        row = written["models"][1]
        assert written["examples"] == "5 random examples of seed 0"
        assert (row["largest"], row["near_ties"], written["split"]) == (0, None, None)
        np.savez(tmp_path / "mine.npz", x=np.ones([3, 2]))
        written = convert(model, ["onnx"], tmp_path / "out", examples=tmp_path / "mine.npz", rounds=1)
        assert written["examples"] == f"the 3 examples in {tmp_path}/mine.npz"


@pytest.mark.convert
def test_the_command_line(tmp_path, capsys):
    """A checkpoint in bfloat16, whose weights are float32, is converted in float32."""
    run = train.Run(tiny_config({"train.precision": "mixed_bfloat16"}), tmp_path / "run")
    run.checkpoints.save(3, 1.0)
    given = [f"--model={tmp_path / 'run'}", "--split=validation", "--rounds=1", "--compared=8", "--evaluated=16"]
    export.main([*given, "--format=onnx"])
    assert "to be compared on the first 8 examples of the recipe's validation split." in capsys.readouterr().out
    assert (tmp_path / "run" / "onnx" / "model.onnx").is_file()


def test_refused_by_the_command():
    """An unknown format, and --versioned with another format than saved_model: one line."""
    for more, said in (
        (["--format=torch"], "--format=torch is not allowed: it must be saved_model, or some of onnx, tflite, with commas"),
        (
            ["--format=onnx", "--versioned"],
            "--versioned is not allowed with --format=onnx: TensorFlow Serving serves SavedModels",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            export.main(["--model=runs/digits", *more])
        assert stopped.value.code == f"error: {said}"
