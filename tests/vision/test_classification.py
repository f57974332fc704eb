"""The image classification task: refused settings, model, loss, metrics and data sets."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from official.data.bad_examples import BadExamples
from official.task import Split
from tests.vision.pictures import write_files
from vision.classification import ImageClassification
from vision.configs import digits
from vision.models import forward_flops

PREPARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"


def tiny_config(model="widenet_ti16", **overrides):
    config = digits.get_config(model)
    config.model.update(dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, num_experts=2, patch_size=4))
    config.train.batch_size = 8
    config.update_from_flattened_dict(overrides)
    return config


@pytest.fixture
def folder(tmp_path):
    """Ten pictures each of a cat and a dog for training, two each for the test."""
    for split, examples in (("train", 10), ("test", 2)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            write_files(tmp_path / split / label, examples)
    return tmp_path


def folder_config(folder, **overrides):
    given = {"data.name": "folder", "data.dir": str(folder), "model.classes": 2, "model.channels": 3}
    return tiny_config(**{**given, **overrides})


@pytest.mark.parametrize("setting, value, needed", [("channels", 3, "1"), ("classes", 1000, "10")])
def test_model_must_fit_the_data(setting, value, needed):
    """Before anything is built: the setting, its value and what the data set needs."""
    config = tiny_config(**{f"model.{setting}": value})
    with pytest.raises(ValueError, match=re.escape(f"model.{setting}={value} is not allowed")) as error:
        ImageClassification(config)
    assert str(error.value).endswith(f"data.name='digits' needs {needed}")


@pytest.mark.parametrize("setting, value, needed", [("channels", 2, "1 or 3"), ("classes", 10, "2")])
def test_model_must_fit_a_folder(folder, setting, value, needed):
    with pytest.raises(ValueError, match=re.escape(f"model.{setting}={value} is not allowed")) as error:
        ImageClassification(folder_config(folder, **{f"model.{setting}": value}))
    assert str(error.value).endswith(f"data.name='folder' needs {needed}")


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"data.name": "digit"}, "data.name='digit' is not allowed"),
        ({"data.crop": "center"}, "data.crop='center' is not allowed: it must be one of none, inception"),
        ({"data.bad_examples": "ignore"}, "data.bad_examples='ignore' is not allowed: it must be one of refuse, skip"),
        ({"data.train_split": "trian"}, "data.train_split='trian' is not allowed: 'trian' is not a split of digits"),
        ({"data.validation_split": "val"}, "data.validation_split='val' is not allowed: 'val' is not a split of digits"),
        ({"data.mixup": 0.2, "train.batch_size": 7}, "train.batch_size=7 is not allowed: it must be even"),
    ],
)
def test_refused(overrides, message):
    """At construction, by setting and value."""
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        ImageClassification(tiny_config(**overrides))


def test_every_model_of_the_zoo_fits_the_recipe():
    """The recipe takes any model's name as its argument: its settings are complete and of that model."""
    import vision

    for name in vision.list_models():
        config = digits.get_config(name)
        task = ImageClassification(config)
        assert task.unit == "images"
        assert config.name == f"{name}_digits"
        assert set(config.model) == set(vision.model_settings(name))


def test_model_is_what_the_settings_say():
    """The config's settings reach the model, which bears the config's name."""
    task = ImageClassification(tiny_config(**{"model.moe_blocks": (1,), "model.capacity_factor": None}))
    model = task.create_model()
    assert task.forward_flops(model, 0.5) == forward_flops(model, 0.5)
    assert model.name == "widenet_ti16_digits"
    assert model.output_shape == (None, 10)
    encoder = model.get_layer("encoder")
    assert [block.is_moe for block in encoder.blocks] == [False, True]
    assert encoder.capacity_factor is None


def test_loss_reads_logits():
    """Cross-entropy of a softmax over the logits with a distribution of classes, by hand; 1e-6 for float32."""
    loss = ImageClassification(tiny_config()).loss()
    logits, labels = np.array([[1.0, 2.0, -1.0]], np.float32), np.array([[0.25, 0.75, 0.0]], np.float32)
    expected = np.log(np.exp(logits).sum()) - (0.25 * 1.0 + 0.75 * 2.0)
    np.testing.assert_allclose(loss(labels, logits), expected, rtol=1e-6)


def test_metrics_count_hits():
    """The class of the largest logit against that of the largest share."""
    (accuracy,) = ImageClassification(tiny_config()).metrics()
    assert accuracy.name == "accuracy"
    accuracy.update_state([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 0.9]], tf.one_hot([0, 2, 2], 3))
    np.testing.assert_allclose(accuracy.result(), 2 / 3, rtol=1e-6)


def test_digits():
    """Training is augmented and starts at the given step; the splits have all 1,438 and 359 images."""
    task = ImageClassification(tiny_config())
    batches = list(task.train_dataset(0).take(3))
    later = next(iter(task.train_dataset(2)))
    np.testing.assert_array_equal(later[0], batches[2][0])
    assert batches[0][0].shape == (8, 8, 8, 1)
    plain = ImageClassification(tiny_config(**{"data.rotate": 0.0, "data.scale": 0.0, "data.shift": 0.0}))
    unmoved = next(iter(plain.train_dataset(0)))
    np.testing.assert_array_equal(unmoved[1], batches[0][1])
    assert not np.array_equal(unmoved[0], batches[0][0])
    assert (unmoved[0].numpy().min(), unmoved[0].numpy().max()) == (-1, 1)
    for dataset, size in ((task.validation_dataset(), 359), (task.evaluation_dataset("train"), 1438)):
        assert sum(len(labels) for _, labels in dataset) == size


def test_description(folder):
    """Examples of each class, against the data sets' own labels; a bad image is left out."""
    splits = ImageClassification(tiny_config()).describe_data()
    classes = tuple("0123456789")
    labels = load_digits().target
    held_out = np.arange(len(labels)) % 5 == 4
    assert splits["train"] == Split(1438, classes, tuple(np.bincount(labels[~held_out])))
    assert splits["validation"] == Split(359, classes, tuple(np.bincount(labels[held_out])))
    (folder / "train" / "cat" / "003.png").write_bytes(b"This is no image.")
    for cache_mib, cats in ((8, 9), (0, 10)):  # images that are not kept in memory are not looked at yet
        splits = {"data.train_split": "train", "data.validation_split": "test"}
        settings = {"data.bad_examples": "skip", "data.cache_mib": cache_mib, **splits}
        found = ImageClassification(folder_config(folder, **settings)).describe_data()
        assert found["train"] == Split(cats + 10, ("cat", "dog"), (cats, 10))
        assert found["validation"] == Split(4, ("cat", "dog"), (2, 2))


@pytest.mark.further
def test_splits_by_role_and_by_name(folder):
    """A role is what the settings say, or the data set's default; any other split is as it is named."""
    task = ImageClassification(folder_config(folder, **{"data.train_split": "train[:50%]", "train.batch_size": 4}))

    def size(split):
        return sum(len(labels) for _, labels in task.evaluation_dataset(split))

    assert [size(role) for role in ("train", "validation", "test")] == [10, 2, 4]
    assert [size(split) for split in ("train[:5]", "test+train[:1]")] == [5, 5]
    assert sum(len(labels) for _, labels in task.validation_dataset()) == 2
    with pytest.raises(ValueError, match="^'nothing' is not a split of"):
        task.evaluation_dataset("nothing")


def test_role_that_the_set_does_not_have(folder):
    """Without a split for it: refused, and allowed once a setting names one."""
    (folder / "train").rename(folder / "learn")
    with pytest.raises(ValueError, match=r"^'train' is not a split of"):
        ImageClassification(folder_config(folder))
    splits = {"data.train_split": "learn[:16]", "data.validation_split": "learn[16:]"}
    ImageClassification(folder_config(folder, **splits))


@pytest.mark.further
def test_bad_example_is_reported_by_the_constructor(folder):
    """Of a set that is held in memory, before a model is built; skipped, it counts once."""
    path = folder / "train" / "cat" / "003.png"
    path.write_bytes(b"This is no image.")
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: it cannot be decoded")):
        ImageClassification(folder_config(folder))
    task = ImageClassification(folder_config(folder, **{"data.bad_examples": "skip"}))
    assert isinstance(task.bad_examples, BadExamples)
    assert list(task.bad_examples.facts()["first"]) == [str(path)]


@pytest.mark.further_cases
@pytest.mark.parametrize("cache_mib", [0, 8])
def test_images_become_the_models_size_and_channels(folder, cache_mib):
    """Whatever they were: here 10 x 12 in color, to 16 x 16 in grey."""
    settings = {"model.image_size": 16, "model.channels": 1, "data.cache_mib": cache_mib}
    task = ImageClassification(folder_config(folder, **settings))
    images, labels = task.train_dataset(0).element_spec
    assert images == tf.TensorSpec([8, 16, 16, 1])
    assert labels == tf.TensorSpec([8, 2])
    assert np.ptp(next(iter(task.train_dataset(0)))[0]) > 0.5


@pytest.mark.further
@pytest.mark.skipif(not (PREPARED / "cifar10").exists(), reason=f"no prepared CIFAR-10 in {PREPARED}")
def test_cifar10():
    """The real set in memory, of which a part is taken here for speed."""
    splits = {"data.train_split": "train[:256]", "data.validation_split": "train[256:300]"}
    model = {"model.image_size": 32, "model.channels": 3}
    task = ImageClassification(tiny_config(**{"data.name": "cifar10", "data.dir": str(PREPARED), **splits, **model}))
    images, labels = next(iter(task.train_dataset(0)))
    assert images.shape == (8, 32, 32, 3)
    np.testing.assert_array_equal(labels.numpy().sum(axis=1), np.ones(8))
    assert sum(len(labels) for _, labels in task.validation_dataset()) == 44
    assert task.class_names[3] == "cat"
