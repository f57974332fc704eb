"""Text models that start from saved ones: other tasks, vocabularies, numbers of positions and deployments; what is refused."""

import numpy as np
import pytest
import tensorflow as tf

import bert
from bert.transfer import load_pretrained, transfer_weights
from official.checkpoints.weights import read_weights
from official.files.tables import text_table
from tests.bert.batches import FEW_EXPERTS, random_batch, randomize
from widenet.weight_transfer import weights_by_name


def create(name="widenet_tiny_e4", task="encoder", **settings):
    return bert.create_model(name, task, **{**FEW_EXPERTS, **settings})


def named(model):
    return {name: weight.numpy() for name, weight in weights_by_name(model).items()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """{family: (a model for pretraining with random weights, and its run's workdir)}."""
    found = {}
    for name in ("widenet_tiny_e4", "albert_tiny"):
        model = randomize(create(name, "pretraining"), seed=5)
        workdir = tmp_path_factory.mktemp(name)
        tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(workdir / "checkpoints"), 1).save(7)
        found[name.split("_")[0]] = model, workdir
    return found


def start(saved, family="widenet", name=None, task="pretraining", **settings):
    """(source, target, {row.weight: row}) of a model that starts from a saved one."""
    source, workdir = saved[family]
    target = create(name or source.name, task, **settings)
    fresh = named(target)
    rows = {row.weight: row for row in load_pretrained(target, workdir)}
    # What the table calls fresh has its initial values.
    for weight, array in named(target).items():
        if any(row.result == "fresh" and f"{weight}/".startswith(f"{name}/") for name, row in rows.items()):
            np.testing.assert_array_equal(array, fresh[weight])
    return source, target, rows


def assert_equal_but(target, source, *others):
    """Bit-equal weights, but for those whose names start otherwise."""
    before, after = named(source), named(target)
    compared = [name for name in after if not name.startswith(others)]
    assert compared
    for name in compared:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def assert_same_outputs(target, source, *keys):
    batch = random_batch(predictions=2)
    outputs, expected = target(batch), source(batch)
    for key in keys:
        np.testing.assert_array_equal(outputs[key], expected[key])


def test_same_task(saved):
    """Everything, so that the same comes out."""
    source, target, rows = start(saved)
    assert {row.result for row in rows.values()} == {"loaded"}
    assert_same_outputs(target, source, "mlm_logits", "next_sentence", "balance_loss")


def test_from_pretraining_to_classification(saved):
    """All but the classifier, which is fresh; the heads of pretraining have no place."""
    source, target, rows = start(saved, task="classification", classes=3)
    assert_equal_but(target, source, "classifier")
    assert rows["classifier"] == ("classifier", "[8, 3], [3]", "fresh", "not in the source")
    assert rows["pooler"].result == "loaded"
    for head in ("mlm_logits", "next_sentence"):
        assert rows[head][2:] == ("dropped", "the model has none")


def test_from_pretraining_to_spans(saved):
    """No pooler either."""
    source, target, rows = start(saved, task="span")
    assert_equal_but(target, source, "span")
    assert {row.weight for row in rows.values() if row.result == "dropped"} == {"pooler", "mlm_logits", "next_sentence"}
    assert rows["span"][2:] == ("fresh", "not in the source")


def test_no_head_is_taken_for_another(saved, tmp_path):
    """Classifier, span head and sentence order all have two outputs here."""
    for task, head in (("classification", "classifier"), ("span", "span")):
        model = randomize(create(task=task, classes=2), seed=3)
        tf.train.Checkpoint(model=model).write(str(tmp_path / task))
        other = create(task="span" if task == "classification" else "classification", classes=2)
        rows = {row.weight: row for row in load_pretrained(other, tmp_path / task)}
        assert rows[head].result == "dropped"
        assert rows["span" if head == "classifier" else "classifier"].result == "fresh"


@pytest.mark.further
def test_from_one_classification_to_another(tmp_path):
    """The classifier where the number of classes is equal, and that number as the reason where it is not."""
    source = randomize(create(task="classification", classes=3))
    tf.train.Checkpoint(model=source).write(str(tmp_path / "three"))
    same, other = create(task="classification", classes=3), create(task="classification", classes=2)
    load_pretrained(same, tmp_path / "three")
    assert_equal_but(same, source)
    rows = {row.weight: row for row in load_pretrained(other, tmp_path / "three")}
    assert rows["classifier"] == ("classifier", "[8, 2], [2]", "fresh", "2 classes, 3 in the source")
    assert_equal_but(other, source, "classifier")


def test_another_vocabulary(saved):
    """The words are fresh, and with them the head that predicts them; the table has both numbers. All else is taken."""
    source, target, rows = start(saved, vocab_size=40)
    assert rows["embedding/word_embedding"][1:] == ("[40, 6]", "fresh", "40 words, 50 in the source")
    assert rows["mlm_logits"][2:] == ("fresh", "40 words, 50 in the source")
    assert [row.weight for row in rows.values() if row.result != "loaded"] == ["embedding/word_embedding", "mlm_logits"]
    assert_equal_but(target, source, "embedding/word_embedding", "mlm_logits")


@pytest.mark.further
def test_fewer_positions(saved):
    source, target, rows = start(saved, max_length=9)
    before, after = (named(model)["embedding/position_embedding"] for model in (source, target))
    np.testing.assert_array_equal(after, before[:9])
    assert rows["embedding/position_embedding"][1:] == ("[9, 6]", "loaded", "the first 9 of 16")
    assert_equal_but(target, source, "embedding/position_embedding")
    assert_same_outputs(target, source, "mlm_logits")


def test_more_positions(saved):
    """What the source has, and initial values after it; texts that fit into the source's give the same."""
    source, workdir = saved["widenet"]
    target = create(task="pretraining", max_length=20)
    initial = named(target)["embedding/position_embedding"]
    rows = {row.weight: row for row in load_pretrained(target, workdir)}
    after = named(target)["embedding/position_embedding"]
    np.testing.assert_array_equal(after[:16], named(source)["embedding/position_embedding"])
    np.testing.assert_array_equal(after[16:], initial[16:])
    assert rows["embedding/position_embedding"][1:] == ("[20, 6]", "loaded", "")
    assert rows["embedding/position_embedding[16:]"][1:] == ("[4, 6]", "fresh", "20 positions, 16 in the source")
    assert_same_outputs(target, source, "mlm_logits")


@pytest.mark.further
def test_another_width_of_embeddings(saved):
    """Nothing of the embedding but the projection's bias could fit, of which all weights are taken or none."""
    _, _, rows = start(saved, embedding_dim=5, type_vocab_size=3)
    fresh = [row.weight for row in rows.values() if row.result == "fresh"]
    assert fresh == [f"embedding/{part}" for part in ("word_embedding", "position_embedding", "type_embedding")] + [
        "embedding/norm",
        "embedding/projection",
        "mlm_logits",
    ]
    assert rows["embedding/type_embedding"].reason == "3 types, 2 in the source"
    _, _, rows = start(saved, embedding_dim=8)
    assert rows["embedding/projection"][2:] == ("dropped", "the model has none")


@pytest.mark.further
def test_another_deployment(saved):
    """What is shared becomes one instance a block, which computes the same: ALBERT to BERT, and WideNet to one MoE a block."""
    source, target, rows = start(saved, "albert", "bert_tiny")
    assert rows["encoder/ffn_0..1 <- ffn_0"][2:] == ("loaded", "shared in the source")
    assert_same_outputs(target, source, "mlm_logits", "next_sentence")
    source, target, rows = start(saved, "widenet", attention_groups=None, ffn_groups=None)
    assert rows["encoder/moe_0..1 <- moe_0"].result == "loaded"
    assert_same_outputs(target, source, "mlm_logits", "next_sentence")


@pytest.mark.further
def test_another_depth(saved):
    """Four blocks of what two share, each with the norm of the block as far up."""
    source, target, rows = start(saved, depth=4)
    before, after = named(source), named(target)
    np.testing.assert_array_equal(after["encoder/ffn_norm/gamma"], before["encoder/ffn_norm/gamma"][[0, 0, 1, 1]])
    assert rows["encoder/ffn_norm"][2:] == ("loaded", "i takes i * 2 // 4")
    assert_equal_but(target, source, "encoder/attention_norm", "encoder/ffn_norm")


@pytest.mark.further
def test_dense_to_experts(saved):
    """ALBERT to WideNet: everything but the experts."""
    source, target, rows = start(saved, "albert", "widenet_tiny_e4")
    assert [name for name, row in rows.items() if row.result == "fresh"] == ["encoder/moe_0"]
    assert rows["encoder/attention_norm"][2:] == ("loaded", "shared in the source")
    assert_equal_but(target, source, "encoder/moe_0", "encoder/attention_norm", "encoder/ffn_norm")


@pytest.mark.further
def test_norms_elsewhere(saved):
    """Norms before attention and FFN are others than norms after them."""
    _, _, rows = start(saved, norm_position="pre")
    assert rows["encoder/ffn_norm"][2:] == ("fresh", "before attention and FFN, in the source after them")


@pytest.mark.further
def test_every_weight_has_its_row(saved):
    """The table's shapes hold every weight of the model once, and it prints."""
    _, target, rows = start(saved, task="classification", vocab_size=40, max_length=9)
    parts = {row.weight.split("_0")[0] for row in rows.values()}
    for name in named(target):
        assert any(f"{name}/".startswith(f"{part}/") or name.startswith(f"{part}_0") for part in parts), name
    lines = text_table(list(rows.values())).splitlines()
    assert lines[0].split() == ["weight", "shape", "result", "reason"]
    assert len(lines) == 1 + len(rows)


def test_create_model_prints_the_table(saved, capsys):
    path = saved["widenet"][1]
    create(task="classification", pretrained=path)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Starting from {path}:"
    assert printed[1].split() == ["weight", "shape", "result", "reason"]
    assert any(line.startswith("classifier") and "fresh" in line for line in printed)


@pytest.mark.further
def test_export(saved, tmp_path):
    """From a SavedModel, too."""
    source, _ = saved["widenet"]
    source.export(str(tmp_path / "export"))
    model = create(task="pretraining", pretrained=tmp_path / "export")
    assert_equal_but(model, source)


@pytest.mark.further
def test_mixed_precision_and_replicas(saved):
    """Weights are read as wide as the model keeps them, on every replica."""
    source, workdir = saved["widenet"]
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        target = create(task="pretraining", max_length=20, pretrained=workdir)
    before = named(source)
    for name, weight in weights_by_name(target).items():
        assert weight.dtype == tf.float32 and len(weight.values) == 2
        for copy in weight.values:
            rows = slice(0, 16) if name == "embedding/position_embedding" else ...
            np.testing.assert_array_equal(copy.numpy()[rows], before[name], err_msg=name)


def test_refusals(saved, tmp_path):
    """A path that leads nowhere, a model of another width, and names that a file does not keep; nothing is changed."""
    with pytest.raises(ValueError, match="pretrained='nowhere' is not allowed: it must be the workdir of a run"):
        create(pretrained="nowhere")
    source, workdir = saved["widenet"]
    model = create(width=16, embedding_dim=5, type_vocab_size=3)
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        load_pretrained(model, workdir, setting="init")
    assert str(error.value) == (
        f"init={str(workdir)!r} is not allowed: it must be of a model like widenet_tiny_e4, which none of its "
        f"{len(source.weights)} weights fits (embedding/word_embedding: [50, 5], in the source [50, 6])"
    )
    for array, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, expected)
    source.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="the model's weights must have their full names"):
        transfer_weights(loaded, read_weights(workdir))
