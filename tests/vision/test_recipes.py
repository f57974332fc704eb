"""Recipes are what the paper's tables say, name what there is, and build the models that they promise."""

import pathlib
import re
import runpy
import types

import pytest
import tensorflow as tf

import vision
from official.cli.recipe_flag import problem_with
from official.config import check_train_settings
from official.training.fine_tuning import freeze
from tests.vision.pictures import write_files
from vision.classification import ImageClassification
from vision.models import build_model
from vision.preprocessing import check_data_settings
from vision.recipes import image_recipe

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "vision" / "configs").glob("*.py"))


def recipe(name, *argument):
    return runpy.run_path(str(ROOT / "vision" / "configs" / f"{name}.py"))["get_config"](*argument)


def parameters(config):
    """Of the recipe's model; inside a tf.Graph no initial value is computed."""
    with tf.Graph().as_default():
        return build_model(name="model", **{key: config.model[key] for key in config.model}).count_params()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_is_allowed_and_says_what_it_is(path):
    """Its default settings are allowed, and the docstring gives its command, cost and accuracy."""
    module = runpy.run_path(str(path))
    config = module["get_config"]()
    check_train_settings(config.train)
    check_data_settings(config.data)
    assert config.init == ""
    docstring = module["__doc__"]
    assert f"--config=vision/configs/{path.name}" in docstring or "as of vision/configs/" in docstring
    assert re.search(r"cost|Cost", docstring)
    assert re.search(r"accuracy|Accuracy", docstring)
    assert config.train.warmup_steps < config.train.steps


PAPERS_MODELS = ["vit_b16", "vit_l16", "vit_moe_b16", "vit_moe_l16", "widenet_b16", "widenet_l16", "widenet_h16"]


@pytest.mark.parametrize("model", PAPERS_MODELS)
def test_imagenet_pretraining(model):
    """The appendix's table: 300 epochs, 30 of warm-up, batches of 4096, LAMB at 0.01, decay, dropout, smoothing and mixup."""
    config = recipe("imagenet", model)
    train, data = config.train, config.data
    examples = round(0.99 * 1_281_167)
    assert train.steps * 4096 / examples == pytest.approx(300, abs=0.01)
    assert train.warmup_steps * 4096 / examples == pytest.approx(30, abs=0.01)
    assert (train.optimizer, train.lr, train.weight_decay, train.batch_size) == ("lamb", 0.01, 0.1, 4096)
    assert (data.mixup, data.label_smoothing, data.crop, data.min_area, data.flip) == (0.5, 0.1, "inception", 0.05, True)
    assert (data.randaugment_layers, data.randaugment_magnitude) == (2, 15)
    assert config.model.dropout == 0.1
    expected = vision.model_settings(model, dropout=0.1)
    assert {key: config.model[key] for key in config.model} == expected


# The counts of the paper's ablations, which are settled in millions or to the digit.
ABLATIONS = {
    "shared_norms_b16": 29_656_040,
    "no_moe_b16": 9_223_912,
    "no_moe_l16": 15_755_240,
    "no_moe_h16": 23_994_600,
    "no_sharing_b16": 128_088_552,
    "no_sharing_l16": 406_115_304,
    "widenet_l16_12_blocks": 40_891_368,
    "routing_groups_3": 29_689_832,
    "experts_4": 29_689_832,
}


@pytest.mark.size
@pytest.mark.parametrize("row", ABLATIONS)
def test_ablations_have_the_papers_counts(row):
    assert parameters(recipe("imagenet_ablation", row)) == ABLATIONS[row]


def test_every_row_of_the_ablations_is_a_model():
    """Each differs from the paper's model in nothing but the model's settings."""
    rows = runpy.run_path(str(ROOT / "vision/configs/imagenet_ablation.py"))["ROWS"]
    base = recipe("imagenet")
    for row, (model, overrides) in rows.items():
        config = recipe("imagenet_ablation", row)
        assert (config.train, config.data) == (base.train, base.data), row
        changed = {key for key in config.model if config.model[key] != vision.model_settings(model, dropout=0.1)[key]}
        assert changed == {key for key in overrides if overrides[key] != vision.model_settings(model)[key]}, row


def test_finetuning_on_cifar10():
    """100 epochs, batches of 512, SGD at 0.03 without decay or warm-up, mixup; the head replaced, no representation layer."""
    config = recipe("cifar10_finetune", "widenet_l16")
    train = config.train
    assert train.steps * 512 / 49_000 == pytest.approx(100, abs=0.01)
    assert (train.optimizer, train.momentum, train.lr, train.weight_decay, train.warmup_steps) == ("sgd", 0.9, 0.03, 0, 0)
    assert (train.clip_norm, train.batch_size) == (1.0, 512)
    assert (config.data.mixup, config.data.label_smoothing) == (0.5, 0)
    assert (config.model.classes, config.model.representation, config.model.image_size) == (10, False, 224)


@pytest.mark.further_cases
@pytest.mark.parametrize("variant", ["last", "frozen", "all"])
def test_finetuning_on_two_cores(variant):
    """Of twelve blocks the last two, none or all are trained, always with the head; images of 8 x 8 patches."""
    config = recipe("finetune", variant)
    assert (config.model.image_size, config.model.width) == (128, 384)
    with tf.Graph().as_default():
        model = build_model(name="model", **{key: config.model[key] for key in config.model})
        freeze(model, config.train.frozen)
    trained = {re.sub(r"(/(query|key|value|output))?/[^/]+$", "", weight.name) for weight in model.trainable_weights}
    last = {f"encoder/{layer}_{block}" for layer in ("attention", "ffn") for block in (10, 11)}
    expected = {"head"} | {"last": last | {"encoder/final_norm"}, "frozen": set()}.get(variant, trained)
    assert trained == expected
    assert len(trained) == {"last": 6, "frozen": 1, "all": 30}[variant]


def test_finetuning_of_shared_blocks(tmp_path):
    """The last blocks of a WideNet have no layers of their own."""
    settings = dict(depth=4, width=48, heads=3)
    (tmp_path / "config.json").write_text(image_recipe("widenet_b16", settings, dict(name="digits"), {}).to_json())
    get_config = runpy.run_path(str(ROOT / "vision" / "configs" / "finetune.py"))["get_config"]
    with pytest.raises(ValueError, match="variant 'last' is not allowed: it must be frozen or all, since attention_groups is 1"):
        get_config("last", init=str(tmp_path))
    assert get_config("all", init=str(tmp_path)).train.frozen == ()


@pytest.mark.parametrize("name, argument", [("cifar10_finetune", "vit_b16"), ("folder", None)])
def test_size_is_that_of_init(tmp_path, name, argument):
    """Architecture, resolution and pooling; classes, the head and what concerns training are the recipe's."""
    settings = dict(depth=5, width=48, heads=3, image_size=40, patch_size=8, moe_blocks=2, dropout=0.3, classes=7, channels=1)
    (tmp_path / "config.json").write_text(image_recipe("vit_moe_b16", settings, dict(name="digits"), {}).to_json())
    get_config = runpy.run_path(str(ROOT / "vision" / "configs" / f"{name}.py"))["get_config"]
    config, plain = get_config(init=str(tmp_path)), get_config()
    changed = {key for key in config.model if config.model[key] != plain.model[key]}
    assert {"depth", "width", "heads", "image_size", "moe_blocks", "attention_groups"} <= changed
    assert not changed & {"dropout", "classes", "channels", "representation", "capacity_factor"}
    assert all(
        config.model[key] == settings[key] for key in ("depth", "width", "heads", "image_size", "patch_size", "moe_blocks")
    )
    assert (config.name.startswith("vit_moe_b16_"), config.init) == (True, str(tmp_path))
    assert config.train.to_dict() == plain.train.to_dict()
    if argument:
        assert get_config(argument, init=str(tmp_path)).model.to_dict() == get_config(argument).model.to_dict()


def test_own_images(tmp_path, monkeypatch):
    """The folder gives the classes and the length of the run; what is not read is said once, by the task."""
    said = []
    monkeypatch.setattr("vision.data.logging.warning", lambda text, *parts: said.append(text % parts))
    for split, label, examples in (("train", "cat", 70), ("train", "dog", 2), ("val", "cat", 1), ("val", "dog", 1)):
        (tmp_path / split / label).mkdir(parents=True)
        write_files(tmp_path / split / label, examples)
    (tmp_path / "train" / "empty").mkdir()
    config = recipe("folder", str(tmp_path))
    assert not said
    assert (config.train.steps, config.train.eval_every, config.train.best) == (60 * (72 // 32), 4, "accuracy")
    task = ImageClassification(config)
    assert (config.model.classes, task.class_names) == (2, ["cat", "dog"])
    assert said == [f"data.dir={str(tmp_path)!r}: not read: 1 folders without images"]
    assert task.create_model().output_shape == (None, 2)
    given_later = recipe("folder")
    given_later.data.dir = str(tmp_path)
    assert ImageClassification(given_later).class_names == ["cat", "dog"]


def test_sizes_of_own_images(monkeypatch):
    """More images, a larger model."""
    sizes = []
    for images in (2_000, 2_001, 20_000, 20_001):
        source = types.SimpleNamespace(examples=images)
        dataset = types.SimpleNamespace(splits={"train": "train"}, source=lambda *_, source=source: source)
        monkeypatch.setattr("vision.data.open_dataset", lambda *_, dataset=dataset: dataset)
        sizes.append(recipe("folder", "photos").model.image_size)
    assert sizes == [64, 96, 96, 160]


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_variants_differ_in_the_deployment_alone(name):
    """What the table of variants compares: the same data and training, and nothing changed in the model but its name's row."""
    for size in ("15", "40"):
        base = recipe(name, size)
        for variant, changed in (
            ("shared_norms", {"norm_groups"}),
            ("no_moe", {"moe_blocks"}),
            ("no_sharing", {"attention_groups", "ffn_groups", "moe_blocks"}),
        ):
            config = recipe(name, f"{size},{variant}")
            assert (config.train, config.data) == (base.train, base.data)
            assert {key for key in base.model if config.model[key] != base.model[key]} == changed
        assert recipe(name, f"{size},vit").model.attention_groups is None


@pytest.mark.parametrize(
    "name, argument, said",
    [
        ("fashion_mnist", "20", "size '20' is not allowed: it must be one of 15, 40"),
        ("cifar10", "15,no_norms", "variant 'no_norms' is not allowed: it must be one of vit, shared_norms, no_moe, no_sharing"),
        ("imagenet_ablation", "no_moe_s16", "row 'no_moe_s16' is not allowed: it must be one of shared_norms_b16, "),
        ("imagenet", "vit_b8", "name='vit_b8' is not a model"),
    ],
)
def test_arguments_that_there_are_not(name, argument, said):
    """One sentence from the command line."""
    path = ROOT / "vision" / "configs" / f"{name}.py"
    assert said in problem_with([f"--config={path}:{argument}"])
