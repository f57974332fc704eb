"""The command: what it writes is a model as any other, and the way back to Hugging Face's layout is exact."""

import itertools
import json
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

import vision
from official import predict, train
from official.conversion.source import open_source
from tests.official.tiny import without_export
from tests.vision.conversion.foreign import DINOV2, PIXELS, VIT, random_tensors, shapes, write
from tests.vision.conversion.test_importing import images
from tests.vision.pictures import encoded, picture, write_files
from vision.configs import finetune
from vision.conversion.importing import convert
from vision.conversion.settings import config_of
from vision.convert import convert_model, main

CLASSES = {"0": "cat", "1": "dog", "2": "gnu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ViT of Hugging Face with three classes."""
    processor = dict(PIXELS, do_center_crop=True, size={"shortest_edge": 16}, crop_size=8)
    tensors = random_tensors(shapes(VIT, "vit.", classes=3))
    return write(tmp_path_factory.mktemp("hf"), {**VIT, "id2label": CLASSES}, tensors, preprocessor_config=processor)


def as_a_run(spec, workdir, config, facts):
    """In place of a SavedModel, which takes seconds: config and checkpoint as in the workdir of a run."""
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config))
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=spec.model), str(workdir / "checkpoints"), 1, checkpoint_name="step"
    ).save(0)
    return {**facts, "kind": spec.kind, "parameters": spec.model.count_params()}


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "model"
    with mock.patch("vision.convert.write_saved_model", as_a_run):
        convert_model(folder, path)
    return path


def refusal(*arguments):
    """The message of a command that does not succeed."""
    with pytest.raises(SystemExit) as error:
        main(arguments)
    return error.value.code


def test_what_is_written(folder, converted):
    """The weights of the source; the recipe's data have the classes and the crop."""
    expected = convert(open_source(folder)).weights
    model = vision.load_model(converted)
    assert {weight.name.removesuffix(":0") for weight in model.weights} == expected.keys()
    for weight in model.weights:
        np.testing.assert_array_equal(weight, expected[weight.name.removesuffix(":0")], err_msg=weight.name)
    config = json.loads((converted / "config.json").read_text())
    assert (config["data"]["classes"], config["data"]["eval_crop"]) == (["cat", "dog", "gnu"], 0.5)
    assert config["name"] == "vit"


@pytest.mark.further
def test_is_a_model_as_any_other(folder, tmp_path):
    """load_model gives the same bits as of the source, and predict knows the classes."""
    converted = tmp_path / "model"
    convert_model(folder, converted)
    np.testing.assert_array_equal(vision.load_model(converted)(images()), vision.load_model(folder)(images()))
    (tmp_path / "a.png").write_bytes(encoded(picture(0)))
    predict.main([f"--model={converted}", f"--input={tmp_path}/*.png", f"--output={tmp_path}/out.jsonl"])
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["label"] in CLASSES.values()


@pytest.mark.further
def test_features_of_other_images(tmp_path, capsys, monkeypatch):
    """Without a classifier, of another size than the source's; prints every tensor and what was assumed."""
    write(tmp_path / "hf", DINOV2, random_tensors(shapes(DINOV2)))
    monkeypatch.setattr("vision.convert.write_saved_model", as_a_run)
    main([f"--from={tmp_path}/hf", f"--output={tmp_path}/out", "--image_size=8,12", "--name=mine"])
    told = capsys.readouterr().out
    for name in shapes(DINOV2):
        assert f"\n{name.replace('layer.0', 'layer.0..1').replace('layer.1', 'layer.0..1')} " in told
    assert "embeddings.mask_token" in told and "dropped" in told
    assert "Embedding/position_embedding is resampled, 2 x 2 to 2 x 3 patches." in told
    assert "by image_mean=(0.485, 0.456, 0.406)" in told
    assert f"{tmp_path}/out: mine, image features, " in told
    model = vision.load_model(tmp_path / "out")
    expected = vision.load_model(tmp_path / "hf", image_size=(8, 12))
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 8, 12, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(pixels), expected(pixels))


def test_back_to_hugging_face(folder, converted, tmp_path, capsys):
    """Their tensors are the first ones, bit by bit, but for the patch projection, which includes the pixels' mean now; converting
    them again gives every weight of ours."""
    main([f"--from={converted}", f"--output={tmp_path}/hf", "--to=huggingface"])
    told = capsys.readouterr().out
    assert told.startswith(f"{tmp_path}/hf: ViTForImageClassification, 40 tensors, ")
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "hf"))
    assert before.keys() == after.keys()
    for name in before:
        if "projection" not in name:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == CLASSES
    assert {name: config[name] for name in VIT} == VIT
    processor = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["crop_size"]) == ({"shortest_edge": 16}, {"height": 8, "width": 8})
    again, first = vision.load_model(tmp_path / "hf"), vision.load_model(converted)
    assert [weight.name for weight in again.weights] == [weight.name for weight in first.weights]
    for one, other in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.further
@pytest.mark.parametrize("changes", [{}, dict(representation=True, classes=0), dict(classes=0)])
def test_hugging_face_reads_it(changes, converted, tmp_path):
    """The same answers on PyTorch; 1e-5 for sums in another order."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = vision.load_model(converted, **changes)
    model.save(tmp_path / "model.keras")
    main([f"--from={tmp_path}/model.keras", f"--output={tmp_path}/hf", "--to=huggingface"])
    kind = transformers.ViTModel if changes else transformers.ViTForImageClassification
    options = dict(add_pooling_layer="representation" in changes) if changes else {}
    theirs, loading = kind.from_pretrained(tmp_path / "hf", output_loading_info=True, **options)
    assert not (loading["missing_keys"] or loading["unexpected_keys"])
    with torch.no_grad():
        found = theirs.eval()(torch.from_numpy(images().transpose(0, 3, 1, 2)))
    found = found.logits if not changes else found.pooler_output if "representation" in changes else found[0][:, 0]
    np.testing.assert_allclose(found, model(images()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(moe_blocks=1), "it has moe_blocks=1, and Hugging Face's ViT 0"),
        (dict(pool="gap"), "it has pool='gap', and Hugging Face's ViT 'token'"),
        (dict(attention_groups=1), "it has attention_groups=1, and Hugging Face's ViT None"),
        (dict(representation=True), "it has representation=True, and Hugging Face's classifier"),
    ],
)
def test_no_way_back(changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(vision.model_settings("vit_ti16", **{"representation": False, **changes}))


@pytest.mark.further
def test_no_way_back_of_a_saved_model(tmp_path):
    sizes = dict(width=8, heads=2, ffn_dim=8, depth=1, image_size=8, patch_size=4, classes=3)
    vision.create_model("vit_ti16", **sizes).save(tmp_path / "model.keras")
    told = refusal(f"--from={tmp_path}/model.keras", f"--output={tmp_path}/hf", "--to=huggingface")
    assert told.startswith(f"error: --from='{tmp_path}/model.keras' is not allowed: it has representation=True")
    assert not (tmp_path / "hf").exists()


@pytest.mark.further
def test_fine_tuned(converted, tmp_path):
    """By the recipe: what is frozen stays as it came from the source, and the last blocks and the head learn."""
    for split, label in itertools.product(("train", "val"), ("a", "b")):
        (tmp_path / split / label).mkdir(parents=True)
        write_files(tmp_path / split / label, 4)
    config = finetune.get_config("last", init=str(converted))
    assert (config.model.position_cubic, config.model.norm_epsilon, config.model.image_size) == (-0.75, 1e-3, 32)
    config.data.update(name="folder", dir=str(tmp_path), train_split="train", validation_split="val")
    config.model.classes = 2
    config.train.update(steps=2, warmup_steps=0, batch_size=4, eval_every=2, precision="float32")
    run = train.Run(config, tmp_path / "run")
    with without_export():
        run.train()
    before, after = vision.load_model(converted), run.model
    before = {weight.name: weight.numpy() for weight in before.weights}
    frozen = ("embedding/projection", "embedding/class_token", "encoder/attention_norm", "encoder/ffn_norm")
    for weight in after.weights:
        if weight.name in before and weight.shape == before[weight.name].shape and "key/bias" not in weight.name:
            is_same = np.array_equal(weight, before[weight.name])
            assert is_same == weight.name.startswith(frozen), weight.name


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--heads=4"], "--heads=4 is not allowed: {source} has heads=2"),
        (["--image_size=10"], "patch_size=4 is not allowed: it must be a divisor of image_size=10"),
        (["--to=huggingface", "--heads=4"], "--heads is not allowed with --to=huggingface"),
        (["--config.data.nothing=1"], "the recipe's data settings are"),
    ],
)
def test_refused_arguments(folder, arguments, message, tmp_path):
    told = refusal(f"--from={folder}", f"--output={tmp_path}/out", *arguments)
    assert told.startswith("error: ")
    assert message.format(source=folder) in told
    assert not list(tmp_path.iterdir())


def test_an_output_that_holds_something(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    told = refusal(f"--from={folder}", f"--output={tmp_path}")
    assert told == f"error: --output={tmp_path} is not allowed: it must be a new path or an empty folder"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
