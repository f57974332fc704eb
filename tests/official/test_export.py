"""The export command, on a run of the digits recipe: what it writes, what it refuses, and what no batch-mate changes."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from official import export, train
from official.checkpoints.weights import read_weights
from official.config import to_plain
from official.files.layout import FACTS_FILE
from official.serving.saved_models import describe
from tests.elsewhere import run_elsewhere
from tests.official.modules import xla_calls_of
from tests.official.tiny import files_and_digests, tiny_config
from tests.vision.pictures import encoded, picture

# Every expert would drop most of what it is sent, in training and in evaluation, and XLA compiles the training step.
RECIPE = {
    "model.depth": 1,
    "model.capacity_factor": 0.5,
    "model.eval_capacity_factor": 0.5,
    "model.top_k": 1,
    "train.jit_compile": True,
}
CROWDED = 20.0  # logit of the expert that all tokens are sent to, which makes its gate 1 whatever the noise of the others


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with a checkpoint of step 3, in whose model all tokens of all images want the first expert."""
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    run = train.Run(tiny_config(RECIPE), workdir)
    crowd(run.model)
    run.checkpoints.save(3, 1.0)
    (workdir / "metrics.csv").write_text("step,epoch,val_accuracy,val_loss\n2,1,0.1,\n3,2,0.25,1.5\n")
    return workdir


def crowd(model):
    """Lets the router prefer the first expert, by a constant that every token has."""
    encoder = model.get_layer("encoder")
    encoder.ffn_norm.beta.assign(tf.ones_like(encoder.ffn_norm.beta))
    kernel = encoder.moe_layers[0].router.kernel
    kernel.assign(tf.one_hot([0] * kernel.shape[0], kernel.shape[1]) * CROWDED / kernel.shape[0])


@pytest.fixture(scope="module")
def exported(workdir):
    """(folder, what the command told of it)"""
    return export.export(workdir)


def random_images(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32)


@pytest.mark.further
def test_files(workdir, exported):
    """Where it is, its weights, and what travels along."""
    folder, facts = exported
    assert folder == workdir / "saved_model"
    assert {path.name for path in folder.iterdir()} >= {"saved_model.pb", "variables", "assets.extra"}
    expected, found = read_weights(workdir / "checkpoints"), read_weights(folder)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)
    assert json.loads((folder / "assets.extra" / "model.json").read_text()) == facts
    assert (facts["model"], facts["kind"], facts["unit"]) == ("widenet_ti16_digits", "image classification", "images")
    assert facts["class_names"] == list("0123456789")
    assert (facts["step"], facts["metrics"]) == (3, {"epoch": 2, "val_accuracy": 0.25, "val_loss": 1.5})
    assert facts["parameters"] == sum(weight.size for weight in expected.values())
    assert facts["licence"] is None
    assert facts["versions"]["tensorflow"] == tf.__version__
    assert facts["signatures"]["classify"] == {
        "inputs": {"image_bytes": "string [?]"},
        "outputs": {"class_ids": "int32 [?]", "labels": "string [?]", "probabilities": "float32 [?, 10]"},
    }
    assert facts["signatures"]["serve"]["inputs"] == {"images": "float32 [?, 8, 8, 1]"}
    config = tiny_config(RECIPE)
    config.data.classes = tuple("0123456789")
    config.model.eval_capacity_factor = None  # so is the exported model
    assert json.loads((folder / "assets.extra" / "config.json").read_text()) == to_plain(config)


@pytest.mark.further
def test_no_xla(exported):
    """Though XLA compiles the recipe's training step."""
    assert xla_calls_of(exported[0]) == []


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported[0]))


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_mates_do_not_matter(loaded, size):
    """Wherever an image stands among others that all want its expert: 1e-5, for products of float32 of other sizes."""
    image = random_images(1)
    alone = loaded.serve(image).numpy()[0]
    for place in {0, size // 2, size - 1}:
        batch = random_images(size, seed=place + 1)
        batch[place] = image[0]
        for logits in (loaded.serve(batch), loaded(batch)["logits"], loaded.signatures["serve"](images=batch)["output_0"]):
            np.testing.assert_allclose(logits[place], alone, rtol=0, atol=1e-5)


def test_of_encoded_images_too(loaded):
    images = [encoded(picture(number, 8, 8, channels=1)) for number in range(64)]
    together = loaded.signatures["serving_default"](image_bytes=tf.constant(images))
    alone = loaded.signatures["classify"](image_bytes=tf.constant(images[-1:]))
    np.testing.assert_allclose(together["probabilities"][-1:], alone["probabilities"], rtol=0, atol=1e-5)
    assert together["labels"].numpy().tolist() == [str(i).encode() for i in together["class_ids"].numpy()]
    np.testing.assert_array_equal(together["class_ids"], np.argmax(together["probabilities"], axis=-1))


def test_the_recipe_itself_drops(workdir, loaded):
    """Or the tests above would say nothing; and the module called for training does so too, as the model of the run does."""
    run = train.Run(tiny_config(RECIPE), workdir)
    images = random_images(4)
    served = loaded.serve(images).numpy()
    assert np.abs(run.model(images, training=False) - served).max() > 1e-3
    trained = loaded(images, training=True)
    # Noise is far too small to send a token elsewhere, and changes its gate by less than 1e-6; 1e-4 for that and float32.
    np.testing.assert_allclose(trained["logits"], run.model(images, training=True), rtol=0, atol=1e-4)
    np.testing.assert_allclose(trained["balance_loss"], tf.add_n(run.model.losses), rtol=1e-4)
    assert np.abs(trained["logits"] - served).max() > 1e-3
    assert float(loaded(images)["balance_loss"]) == 0


@pytest.mark.further
def test_alone_in_a_process(exported, tmp_path):
    """That has TensorFlow and nothing of ours."""
    image = encoded(picture(5, 20, 30))
    (tmp_path / "image.png").write_bytes(image)
    code = """
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
found = model.signatures["serving_default"](image_bytes=tf.constant([open(sys.argv[2], "rb").read()] * 3))
print(json.dumps({name: value.numpy().tolist() for name, value in found.items() if name != "labels"}))
"""
    found = run_elsewhere(code, tmp_path, exported[0], tmp_path / "image.png")
    expected = tf.saved_model.load(str(exported[0])).signatures["serving_default"](image_bytes=tf.constant([image] * 3))
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=0, atol=1e-6)
    assert found["class_ids"] == expected["class_ids"].numpy().tolist()


@pytest.mark.further
def test_encoder(workdir, loaded):
    """Without the head, whose weights it does not have; its features are those that the whole model's head reads."""
    folder, facts = export.export(workdir, part="encoder")
    assert folder == workdir / "encoder"
    assert facts["kind"] == "image features"
    encoder = tf.saved_model.load(str(folder))
    assert not [variable.name for variable in encoder.variables if "head" in variable.name]
    images = random_images(3)
    features = encoder(images)["features"]
    np.testing.assert_allclose(features, loaded(images)["features"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(features, encoder.serve(images), rtol=0, atol=1e-6)
    kernel, bias = (read_weights(workdir)[f"head/{name}"] for name in ("kernel", "bias"))
    np.testing.assert_allclose(features @ kernel + bias, loaded.serve(images), rtol=0, atol=1e-5)
    found = encoder.signatures["serving_default"](image_bytes=tf.constant([encoded(picture(0))]))
    assert found["features"].shape == (1, 16)


def test_places(workdir, tmp_path, monkeypatch):
    """Where it is written by default, by name, and as the next version; whatever else is there stays, also other SavedModels."""

    def write(part, directory, config, facts):
        directory.mkdir()

    monkeypatch.setattr(export, "write_saved_model", write)
    folders = [
        export.export(workdir, tmp_path / "models", versioned=True)[0],
        export.export(workdir, tmp_path / "models", versioned=True)[0],
        export.export(workdir / "checkpoints" / "step-3")[0],
    ]
    assert folders == [tmp_path / "models" / "1", tmp_path / "models" / "2", workdir / "saved_model-step-3"]
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"1", "2"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear")
    for name, files in {"a model": ("saved_model.pb",), "ours and more": ("saved_model.pb", FACTS_FILE, "letter.txt")}.items():
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
    before = files_and_digests(tmp_path)
    for output in ("mine", "mine/letter.txt", "a model", "ours and more"):
        with pytest.raises(ValueError, match=f"^--output={re.escape(str(tmp_path / output))} is not allowed: it must be a new"):
            export.export(workdir, tmp_path / output)
    assert files_and_digests(tmp_path) == before


def test_a_finished_run_needs_no_data(workdir, tmp_path, monkeypatch):
    """Its summary has the classes; a run that is not finished asks its data set for them."""
    monkeypatch.setattr(export, "write_saved_model", lambda spec, directory, config, facts: spec.class_names)
    copy = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("saved_model", "encoder"))
    config = json.loads((copy / "config.json").read_text())
    config["data"] |= {"name": "folder", "dir": "gone"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="^data.dir='gone' is not allowed"):
        export.export(copy)
    config["data"]["classes"] = classes = [f"class {i}" for i in range(10)]
    (copy / "summary.json").write_text(json.dumps({"config": config}))
    assert export.export(copy) == (copy / "saved_model", classes)


def test_versions_inside_a_model(workdir, exported):
    with pytest.raises(ValueError, match="with --versioned it must be a folder of exported models, not one"):
        export.export(workdir, exported[0], versioned=True)


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(part="decoder"), "--part=decoder is not allowed: it must be one of model, encoder"),
        (dict(data={"eval_crop": "2"}), "data.eval_crop=2.0 is not allowed"),
        (dict(data={"max_pixels": "1"}), "data.max_pixels=1 is not allowed"),
    ],
)
def test_refused(workdir, tmp_path, settings, said):
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        export.export(workdir, tmp_path / "output", **settings)
    assert not list(tmp_path.iterdir())


def test_of_an_exported_model(exported):
    with pytest.raises(ValueError, match="it must be a workdir or a checkpoint, not an exported model"):
        export.export(exported[0])


def test_command(workdir, tmp_path, capsys):
    """The folder and the model's signatures."""
    checkpoint = workdir / "checkpoints" / "step-3"
    export.main([f"--output={tmp_path / 'out'}", f"--checkpoint={checkpoint}", "--config.data.max_pixels=64"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out'}: widenet_ti16_digits of step 3, image classification, ")
    assert lines[2] == "  serve: images float32 [?, 8, 8, 1] -> output_0 float32 [?, 10]"
    model = tf.saved_model.load(str(tmp_path / "out"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="8 x 9 pixels, and at most 64 are decoded"):
        model.signatures["classify"](image_bytes=tf.constant([encoded(picture(0, 8, 9))]))


@pytest.mark.parametrize("flag", ["--model", "--workdir", "--checkpoint", "--saved_model"])
def test_names_of_the_model(tmp_path, flag):
    """--model has three older names."""
    with pytest.raises(SystemExit) as stopped:
        export.main([f"{flag}={tmp_path / 'nowhere'}"])
    assert re.fullmatch(r"error: --model='.*nowhere' is not allowed: .*", stopped.value.code)


def test_description():
    """Names, dtypes and shapes; of unknown rank too."""
    function = tf.function(lambda x: x, input_signature=[tf.TensorSpec(None, tf.int64, name="x")]).get_concrete_function()
    assert describe(function) == {"inputs": {"x": "int64 [...]"}, "outputs": {"output_0": "int64 [...]"}}
