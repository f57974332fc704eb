"""Image models that start from saved ones: other classes, sizes, pooling and precision; what is refused."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import vision
from official.checkpoints.weights import read_weights
from official.files.tables import text_table
from official.serving.saved_models import export_saved_model
from tests.bert.batches import randomize
from vision.classification import ImageClassification
from vision.configs import digits
from vision.models import settings_of
from vision.transfer import load_pretrained, resample_positions, transfer_weights
from widenet.weight_transfer import weights_by_name

TINY = dict(width=16, heads=2, ffn_dim=24, expert_dim=24, num_experts=2, image_size=8, patch_size=4, channels=1, classes=3)


def create(name="vit_ti16", **settings):
    """A model of one block; a WideNet of two, which share their layers."""
    return vision.create_model(name, **{**TINY, "depth": 1 if name == "vit_ti16" else 2, **settings})


def named(model):
    return {name: weight.numpy() for name, weight in weights_by_name(model).items()}


def random_images(size=8):
    return np.random.default_rng(0).uniform(-1, 1, (3, size, size, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """{name: (model with random weights, biases included, and its run's workdir)}."""
    found = {}
    for name in ("vit_ti16", "widenet_ti16"):
        tf.keras.utils.set_random_seed(5)
        model = create(name)
        for weight in model.weights:
            weight.assign_add(tf.random.normal(weight.shape, stddev=0.1))
        found[name] = model, tmp_path_factory.mktemp(name)
        checkpoint = tf.train.Checkpoint(model=model)
        tf.train.CheckpointManager(checkpoint, str(found[name][1] / "checkpoints"), 1, checkpoint_name="step").save(7)
    return found


def start(saved, name, target_name=None, **settings):
    """(source, target, {row.weight: row}) of a model that starts from the checkpoint of `name`."""
    source, workdir = saved[name]
    target = create(target_name or name, **settings)
    fresh = named(target)
    rows = load_pretrained(target, workdir)
    # What the table calls fresh has its initial values, and no other layer has.
    for row in rows:
        for weight, array in named(target).items():
            if row.result == "fresh" and weight.startswith(row.weight.split("_0")[0] + "/"):
                np.testing.assert_array_equal(array, fresh[weight])
    return source, target, {row.weight: row for row in rows}


def assert_equal_but(target, source, *others):
    """Bit-equal weights, but for layers whose names start otherwise."""
    before, after = named(source), named(target)
    compared = [name for name in after if not name.startswith(others)]
    assert compared
    for name in compared:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


@pytest.mark.further_cases
@pytest.mark.parametrize("inside", ["", "checkpoints", "checkpoints/step-7"])
def test_checkpoint(saved, inside):
    """From a workdir, its folder of checkpoints and a prefix the same weights; the same operations see them, so the same bits."""
    source, workdir = saved["widenet_ti16"]
    model = create("widenet_ti16", pretrained=str(workdir / inside))
    assert_equal_but(model, source)
    np.testing.assert_array_equal(model(random_images()), source(random_images()))


@pytest.mark.further_cases
@pytest.mark.parametrize("export", [export_saved_model, lambda model, path: model.export(str(path))])
def test_saved_model(saved, tmp_path, export):
    """The driver's export, and Keras's own."""
    source, _ = saved["vit_ti16"]
    export(source, tmp_path / "export")
    model = create(pretrained=tmp_path / "export")
    assert_equal_but(model, source)
    np.testing.assert_array_equal(model(random_images()), source(random_images()))


def test_other_classes(saved):
    """All but the head."""
    source, target, rows = start(saved, "vit_ti16", classes=5)
    assert_equal_but(target, source, "head")
    assert rows["head"] == ("head", "[16, 5], [5]", "fresh", "5 classes, 3 in the source")
    assert {row.result for name, row in rows.items() if name != "head"} == {"loaded"}


def test_features(saved):
    """Without a head, the features that the head of the source read."""
    source, target, rows = start(saved, "widenet_ti16", classes=0)
    features = tf.keras.Model(source.input, source.get_layer("representation").output)
    np.testing.assert_array_equal(target(random_images()), features(random_images()))
    assert rows["head"][2:] == ("dropped", "the model has none")


def test_representation_layer(saved, tmp_path):
    """Dropped for fine-tuning, and fresh where there was none."""
    source, target, rows = start(saved, "widenet_ti16", representation=False)
    assert_equal_but(target, source)
    assert rows["representation"][2:] == ("dropped", "the model has none")
    target.save_weights(tmp_path / "without")
    rows = load_pretrained(create("widenet_ti16"), tmp_path / "without")
    assert [row[2:] for row in rows if row.weight == "representation"] == [("fresh", "not in the source")]


@pytest.mark.parametrize("name, has_token", [("vit_ti16", 1), ("widenet_ti16", 0)])
def test_larger_images(saved, name, has_token):
    """Positions of 2 x 2 patches become those of 4 x 4; that of the class token stays, bit by bit, and so does all else."""
    source, target, rows = start(saved, name, image_size=16)
    assert_equal_but(target, source, "embedding/position_embedding")
    before, after = (named(model)["embedding/position_embedding"] for model in (source, target))
    np.testing.assert_array_equal(after[:, :has_token], before[:, :has_token])
    expected = catmull_rom(before[0, has_token:].reshape(2, 2, 16), (4, 4)).reshape(16, 16)
    # Offsets of a quarter, which TensorFlow's table of 1024 weights holds; float32.
    np.testing.assert_allclose(after[0, has_token:], expected, rtol=0, atol=1e-6)
    assert rows["embedding/position_embedding"][2:] == ("resampled", "2 x 2 to 4 x 4 patches")
    assert target(random_images(16)).shape == (3, 3)


def catmull_rom(grid, new):
    """[rows, columns, width] to another grid, (rows, columns), in float64: Keys's cubic convolution with a = -1/2 (1981), pixels
    as areas.

    Beyond the edge there is nothing, and the weights of what there is are divided by their sum.
    """
    along_rows, along_columns = (np.zeros((after, before)) for after, before in zip(new, grid.shape, strict=False))
    for matrix in (along_rows, along_columns):
        after, before = matrix.shape
        for i in range(after):
            center = (i + 0.5) * before / after - 0.5
            for j in range(before):
                d = abs(center - j)
                matrix[i, j] = 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0
        matrix /= matrix.sum(axis=1, keepdims=True)
    return np.einsum("ia,jb,abw->ijw", along_rows, along_columns, grid.astype(np.float64))


class TestResampling:
    @pytest.mark.parametrize("side, rows", [(2, 4), (4, 2), (3, 5), (7, 14), (14, 24), (1, 3)])
    def test_reference(self, side, rows):
        """TensorFlow takes weights from a table of 1024 offsets, so up to half a step of it off where offsets are no such
        fractions: by less than 2 / 2048 of a grid of values below 1 in each direction."""
        grid = np.random.default_rng(0).uniform(-1, 1, (1, side * side, 3)).astype(np.float32)
        found = resample_positions(grid, rows)
        expected = catmull_rom(grid.reshape(side, side, 3), (rows, rows)).reshape(1, rows * rows, 3)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=4e-3)

    @pytest.mark.parametrize(
        "old, new", [((4, 4), (2, 8)), ((2, 8), (4, 4)), ((3, 5), (6, 5)), ((3, 5), (5, 3)), ((1, 6), (4, 3))]
    )
    def test_reference_of_other_shapes(self, old, new):
        """From squares and back; grids of equal numbers of patches are still other grids. 4e-3 as above."""
        grid = np.random.default_rng(0).uniform(-1, 1, (*old, 3)).astype(np.float32)
        found = resample_positions(grid.reshape(1, -1, 3), new, old)
        expected = catmull_rom(grid, new)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=4e-3)
        np.testing.assert_array_equal(resample_positions(grid.reshape(1, -1, 3), old, old), grid.reshape(1, -1, 3))

    @pytest.mark.parametrize("side, rows", [(2, 4), (5, 3), (3, 8)])
    def test_constant(self, side, rows):
        """Weights add up to one, also at the edges; 1e-6 for float32."""
        np.testing.assert_allclose(resample_positions(np.full((1, side**2, 2), 0.7, np.float32), rows), 0.7, rtol=0, atol=1e-6)

    def test_ramp(self):
        """Where no weight falls beyond the edge a plane stays one, whose two directions are not mixed up."""
        row, column = np.mgrid[:8, :8].astype(np.float32)
        grid = np.stack([row, 3 * column], axis=-1).reshape(1, 64, 2)
        found = resample_positions(grid, 16).reshape(16, 16, 2)
        row, column = (np.mgrid[:16, :16] + 0.5) / 2 - 0.5
        inner = slice(4, 12)
        # Values of up to 21 in float32.
        np.testing.assert_allclose(found[inner, inner, 0], row[inner, inner], rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[inner, inner, 1], 3 * column[inner, inner], rtol=0, atol=1e-5)


class TestPyTorchPositions:
    """`position_cubic=-0.75`: PyTorch's kernel, and its border."""

    def test_by_hand(self):
        """Three values become six: neighbours at distances of 5/4, 1/4, 3/4 and 7/4 weigh -27, 225, 67 and -9 of 256, and beyond
        the border its value counts again. 1e-4 for float32 of these sizes."""
        grid = 256 * np.eye(3, dtype=np.float32)[np.newaxis]
        found = resample_positions(grid, (1, 6), (1, 3), cubic=-0.75)
        first, second = [-9 + 67 + 225, 225 - 27, 67 - 9, -27, -9, 0], [-27, 67, 225, 225, 67, -27]
        np.testing.assert_allclose(found[0].T, [first, second, first[::-1]], rtol=0, atol=1e-4)

    @pytest.mark.further_cases
    @pytest.mark.parametrize(
        "old, new", [((4, 4), (7, 3)), ((37, 37), (16, 16)), ((2, 5), (5, 2)), ((3, 3), (3, 9)), ((1, 1), (2, 2))]
    )
    def test_as_in_pytorch(self, old, new):
        """1e-5, for float32 weights there."""
        torch = pytest.importorskip("torch")
        grid = np.random.default_rng(0).normal(size=(*old, 3)).astype(np.float32)
        channels_first = torch.from_numpy(grid.transpose(2, 0, 1)[np.newaxis])
        expected = torch.nn.functional.interpolate(channels_first, size=new, mode="bicubic", align_corners=False)
        found = resample_positions(grid.reshape(1, -1, 3), new, old, cubic=-0.75)
        np.testing.assert_allclose(found.reshape(*new, 3), expected.numpy()[0].transpose(1, 2, 0), rtol=0, atol=1e-5)

    def test_source_decides(self):
        """By the setting of the source, whatever that of the model; models and their settings keep it."""
        tf.keras.utils.set_random_seed(0)
        source = create(position_cubic=-0.75)
        settings = settings_of(source)
        assert settings["position_cubic"] == -0.75
        positions = named(source)["embedding/position_embedding"]
        for cubic, of_source in ((-0.5, settings), (-0.75, {**settings, "position_cubic": -0.5})):
            model = create(image_size=12, position_cubic=cubic)
            assert settings_of(model)["position_cubic"] == cubic
            transfer_weights(model, named(source), of_source)
            expected = resample_positions(positions[:, 1:], 3, cubic=of_source["position_cubic"])
            np.testing.assert_array_equal(named(model)["embedding/position_embedding"][:, 1:], expected)


class TestOtherShapes:
    """Grids that are not squares. Which grid a source has is said by its settings, and not by the number of its patches."""

    @pytest.fixture(params=["run", "model.keras"])
    def save(self, request, tmp_path):
        """save(model, **settings): where a model is, with its settings."""

        def save(model, **settings):
            if request.param == "run":
                checkpoint = tf.train.Checkpoint(model=model)
                tf.train.CheckpointManager(checkpoint, str(tmp_path / "checkpoints"), 1, checkpoint_name="step").save(7)
                settings = vision.model_settings("vit_ti16", **{**TINY, "depth": 1, **settings})
                (tmp_path / "config.json").write_text(json.dumps({"name": "run", "model": settings}))
                return tmp_path
            model.save(tmp_path / "model.keras")
            return tmp_path / "model.keras"

        return save

    @pytest.mark.further_cases
    @pytest.mark.parametrize("old, new", [((8, 8), (4, 16)), ((4, 16), (8, 8)), ((4, 12), (16, 4))])
    def test_there_and_back(self, save, old, new, capsys):
        """Between grids of 2 x 2, 1 x 4, 1 x 3 and 4 x 1 patches: several have four patches, and only one is a square."""
        source = randomize(create(image_size=old))
        path = save(source, image_size=old)
        grids = [tuple(side // 4 for side in size) for size in (old, new)]
        for target in (vision.load_model(path, image_size=new), create(image_size=new, pretrained=path)):
            before, after = (named(model)["embedding/position_embedding"][0] for model in (source, target))
            expected = catmull_rom(before[1:].reshape(*grids[0], 16), grids[1]).reshape(-1, 16)
            np.testing.assert_allclose(after[1:], expected, rtol=0, atol=2e-3)  # as in TestResampling, of values below 1
            np.testing.assert_array_equal(after[0], before[0])
            assert_equal_but(target, source, "embedding/position_embedding")
        old, new = (f"{rows} x {columns}" for rows, columns in grids)
        assert capsys.readouterr().out.count(f"{old} to {new} patches") == 2

    def test_other_patches_of_as_many_values(self, save, capsys):
        """A kernel of the same shape is of other pixels; positions of the same grid are taken."""
        source = randomize(create(image_size=(4, 16), patch_size=(2, 8)))
        path = save(source, image_size=(4, 16), patch_size=(2, 8))
        target = create(image_size=8, patch_size=4, pretrained=path)
        assert_equal_but(target, source, "embedding/projection")
        assert not np.allclose(named(target)["embedding/projection/kernel"], named(source)["embedding/projection/kernel"])
        assert "patches of 4 x 4 x 1 values, 2 x 8 x 1 in the source" in capsys.readouterr().out

    def test_a_run_that_starts_from_another(self, tmp_path):
        """`init` of the driver: the task reads the settings of the other run."""
        source = randomize(create(image_size=(4, 16)))
        tf.train.CheckpointManager(tf.train.Checkpoint(model=source), str(tmp_path / "checkpoints"), 1).save()
        settings = vision.model_settings("vit_ti16", **{**TINY, "image_size": (4, 16)})
        (tmp_path / "config.json").write_text(json.dumps({"name": "run", "model": settings}))
        config = digits.get_config("vit_ti16")
        config.update_from_flattened_dict({f"model.{name}": value for name, value in {**TINY, "depth": 1, "classes": 10}.items()})
        config.init = str(tmp_path)
        task = ImageClassification(config)
        model = task.create_model()
        rows = {row.weight: row for row in task.initialize(model, read_weights(tmp_path))}
        assert rows["embedding/position_embedding"].reason == "1 x 4 to 2 x 2 patches"
        by_hand = {row.weight: row for row in load_pretrained(create(), tmp_path)}
        assert by_hand["embedding/position_embedding"] == rows["embedding/position_embedding"]

    def test_without_settings(self, tmp_path):
        """The grid of the model if it has as many patches, which keeps a model's own weights as they are; or else a square."""
        source = randomize(create(image_size=(4, 16)))
        source.save_weights(tmp_path / "weights")
        same = create(image_size=(4, 16))
        load_pretrained(same, tmp_path / "weights")
        assert_equal_but(same, source)
        rows = load_pretrained(create(image_size=(8, 12)), tmp_path / "weights")
        assert [row.reason for row in rows if row.result == "resampled"] == ["2 x 2 to 2 x 3 patches"]
        create(image_size=(8, 12)).save_weights(tmp_path / "others")
        rows = {row.weight: row for row in load_pretrained(create(), tmp_path / "others")}
        assert rows["embedding/position_embedding"][2:] == (
            "fresh",
            "6 positions in the source, which are not a square grid",
        )

    @pytest.mark.parametrize(
        "wrong", [dict(image_size="8"), dict(image_size=(8, 8, 8)), dict(image_size=16), dict(patch_size=0), {}]
    )
    def test_settings_that_cannot_be_right(self, wrong):
        """Of a config that was edited: as if they were not known."""
        settings = {"image_size": 8, "patch_size": 4, "channels": 1, **wrong} if wrong else {}
        source = randomize(create())
        target = create()
        transfer_weights(target, named(source), settings)
        assert_equal_but(target, source)


def test_class_token_to_mean_of_tokens(saved):
    """The token and its position go; the grid's positions are those of before."""
    source, target, rows = start(saved, "vit_ti16", pool="gap")
    before, after = (named(model)["embedding/position_embedding"] for model in (source, target))
    np.testing.assert_array_equal(after, before[:, 1:])
    assert_equal_but(target, source, "embedding/position_embedding")
    assert rows["embedding/class_token"].result == "dropped"
    assert rows["embedding/position_embedding of the class token"][1:3] == ("[1, 1, 16]", "dropped")


def test_mean_of_tokens_to_class_token(saved):
    """Fresh: the token and its position."""
    source, workdir = saved["widenet_ti16"]
    target = create("widenet_ti16", pool="token", image_size=16)
    initial = named(target)
    rows = {row.weight: row for row in load_pretrained(target, workdir)}
    after = named(target)
    np.testing.assert_array_equal(after["embedding/class_token"], initial["embedding/class_token"])
    position = "embedding/position_embedding"
    np.testing.assert_array_equal(after[position][:, 0], initial[position][:, 0])
    np.testing.assert_array_equal(after[position][:, 1:], resample_positions(named(source)[position], 4))
    assert rows["embedding/class_token"].result == rows[f"{position} of the class token"].result == "fresh"
    assert rows[position].result == "resampled"


def test_other_patches(saved):
    """A projection of other patches is not guessed; positions are of patches, however large."""
    _, target, rows = start(saved, "vit_ti16", patch_size=2)
    assert rows["embedding/projection"][2:] == ("fresh", "kernel [4, 16], in the source [16, 16]")
    assert rows["embedding/position_embedding"][2:] == ("resampled", "2 x 2 to 4 x 4 patches")
    _, _, rows = start(saved, "vit_ti16", channels=3)
    assert rows["embedding/projection"].result == "fresh"
    assert rows["embedding/position_embedding"].result == "loaded"


def test_other_deployment(saved):
    """A WideNet becomes a model of one layer a block, which computes the same; 1e-6 for sums in another order of threads."""
    source, target, rows = start(saved, "widenet_ti16", "vit_moe_b16", moe_blocks=2)
    np.testing.assert_allclose(target(random_images()), source(random_images()), rtol=0, atol=1e-6)
    assert rows["encoder/moe_0..1 <- moe_0"].result == "loaded"


def test_dense_to_experts(saved):
    """Everything but the experts."""
    source, target, rows = start(saved, "vit_ti16", "widenet_ti16", pool="token", depth=1)
    assert_equal_but(target, source, "encoder/moe_0")
    assert [name for name, row in rows.items() if row.result == "fresh"] == ["encoder/moe_0"]


@pytest.mark.parametrize("policy, dtype", [("mixed_bfloat16", "float32"), ("float64", "float64")])
def test_policies(saved, policy, dtype):
    """Weights are read as wide as the model keeps them, none of them rounded."""
    source, workdir = saved["widenet_ti16"]
    tf.keras.mixed_precision.set_global_policy(policy)
    target = create("widenet_ti16", image_size=16, pretrained=workdir)
    assert {weight.dtype for weight in target.weights} == {tf.as_dtype(dtype)}
    assert_equal_but(target, source, "embedding/position_embedding")


def test_two_replicas(saved):
    """Every replica starts from the weights, resampled ones included."""
    source, workdir = saved["vit_ti16"]
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        target = create(pretrained=workdir, image_size=16)
    alone = create(pretrained=workdir, image_size=16)
    for weight, expected in zip(target.weights, alone.weights, strict=True):
        assert len(weight.values) == 2
        for copy in weight.values:
            np.testing.assert_array_equal(copy, expected, err_msg=weight.name)


def test_every_weight_has_its_row(saved):
    """No layer of the model and none of the file is left out of the table."""
    _, target, rows = start(saved, "vit_ti16", "widenet_ti16", image_size=16, classes=5, representation=False)
    found_layers = {re.sub(r"(_\d+)?(\.\.\d+)?( <- .*| of the class token)?$", "", name) for name in rows}
    source_layers, target_layers = (
        {re.sub(r"(_\d+)$", "", "/".join(name.split("/")[: 2 if "/" in name and name[0] == "e" else 1])) for name in weights}
        for weights in (named(saved["vit_ti16"][0]), named(target))
    )
    assert found_layers == source_layers | target_layers
    lines = text_table(list(rows.values())).splitlines()
    assert lines[0].split() == ["weight", "shape", "result", "reason"]
    assert len(lines) == 1 + len(rows)


def test_create_model_prints_the_table(saved, capsys):
    path = saved["vit_ti16"][1]
    create(classes=5, pretrained=path)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Starting from {path}:"
    assert printed[1].split() == ["weight", "shape", "result", "reason"]
    assert any(line.startswith("encoder/ffn_0") and "loaded" in line for line in printed)
    assert printed[-1].startswith("head") and printed[-1].endswith("fresh   5 classes, 3 in the source")


def test_a_path_that_leads_nowhere(tmp_path):
    for wrong in (tmp_path / "nothing", True, ""):
        with pytest.raises(ValueError) as error:
            create(pretrained=wrong)
        given = str(wrong) if wrong not in (True, "") else wrong
        assert str(error.value).startswith(f"pretrained={given!r} is not allowed: it must be the workdir of a run")


def test_another_kind_of_model(saved, tmp_path):
    """Another width, and a file of something else: refused with the first weight that does not fit, and nothing is changed."""
    other = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="dense")])
    other.save_weights(tmp_path / "dense")
    model = create(width=32)
    before = model.get_weights()
    for path, why in (
        (tmp_path / "dense", "none of its 2 weights fits (embedding/class_token: not in the source)"),
        (saved["vit_ti16"][1], "none of its 26 weights fits (embedding/class_token: [1, 1, 32], in the source [1, 1, 16])"),
    ):
        with pytest.raises(ValueError) as error:
            load_pretrained(model, path, setting="pretrained")
        assert str(error.value) == f"pretrained={str(path)!r} is not allowed: it must be of a model like vit_ti16, which {why}"
    for array, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_names_that_a_keras_file_does_not_keep(saved, tmp_path):
    """Only the head's name would be the same: better nothing than that."""
    source, workdir = saved["vit_ti16"]
    source.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    loaded.save_weights(tmp_path / "again")
    with pytest.raises(ValueError, match=r"its weights must have their full names, which loading a \.keras file"):
        create(pretrained=tmp_path / "again")
    with pytest.raises(ValueError, match="the model's weights must have their full names"):
        transfer_weights(loaded, read_weights(workdir))
