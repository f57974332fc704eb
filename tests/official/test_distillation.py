"""Distillation around tasks on text and images: the loss by hand, and runs whose student is all that is left of them."""

import json

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

import bert
import widenet
from bert.classification import TextClassification
from official import evaluate, train
from official.checkpoints.weights import read_weights
from official.distillation import Lesson, compare, distillation_recipe, matching_blocks
from official.files.tables import read_table
from official.task import create_task, task_class
from official.training.optimizers import create_schedule
from tests.bert.prepared_texts import write_tsv, write_vocabulary
from tests.bert.tiny import MODEL, classification_config
from tests.official.events import events
from tests.official.tiny import DENSE, files_and_digests, tiny_config, without_export
from tests.official.words import words_config
from tests.official.words import write_vocabulary as write_words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A vocabulary, texts of several lengths, and `teacher`, a run that has not trained."""
    folder = tmp_path_factory.mktemp("texts")
    write_vocabulary(folder / "vocab.txt", ("good", "bad", "film", "a"))
    random = np.random.default_rng(0)
    rows = [(f"a {word} film {'a ' * random.integers(0, 9)}", word) for word in ["good", "bad"] * 8]
    write_tsv(folder / "train.tsv", ("text", "label"), *rows[:12])
    write_tsv(folder / "dev.tsv", ("text", "label"), *rows[12:])
    saved_run(text_config(folder), folder / "teacher")
    return folder


def text_config(folder, *more, model="bert_tiny", **train_settings):
    """Dense and without dropout, in one block, with weights large enough that blocks have something to say."""
    data = dict(name="file", dir=str(folder), train_file="train.tsv", validation_file="dev.tsv")
    config = classification_config(folder / "vocab.txt", data, model, **train_settings)
    initializer = {"class_name": "TruncatedNormal", "config": {"stddev": 0.3}}
    settings = dict(depth=2, dropout=0.0, attention_dropout=0.0, kernel_initializer=initializer)
    for dotted in ({f"model.{key}": value for key, value in settings.items()}, *more):
        config.update_from_flattened_dict(dotted)
    return config


def saved_run(config, workdir):
    """A run that is stopped before it trains: its initial weights are its checkpoint."""
    tf.keras.utils.set_random_seed(config.train.seed)
    train.Run(config, workdir).checkpoints.save(1, 0.0)


def distilled(folder, *more, settings=None, **others):
    """The recipe of a student, of another seed than its teacher."""
    of_teacher = dict(teacher=str(folder / "teacher"), **(settings or {}))
    return distillation_recipe(text_config(folder, *more, **{"seed": 1, **others}), **of_teacher)


def batch():
    """Token ids of four texts, of which two have padding, and labels."""
    lengths = tf.constant([16, 5, 9, 16])
    ids = tf.random.stateless_uniform([4, 16], [0, 1], 1, 9, tf.int32)
    mask = tf.sequence_mask(lengths, 16, tf.int32)
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": 0 * ids}, tf.constant([0, 1, 1, 0], tf.int64)


def share_by_hand(taught, learned, mask=None):
    taught, learned = (np.asarray(array, np.float64) for array in (taught, learned))
    if mask is not None:
        taught, learned = taught[np.asarray(mask) > 0], learned[np.asarray(mask) > 0]
    taught, learned = (array.reshape(-1, array.shape[-1]) for array in (taught, learned))
    return np.square(learned - taught).mean() / taught.var(axis=0).mean()


class TestLoss:
    def test_by_hand(self, folder, monkeypatch):
        """Of tokens that are not padding, against the variance of the teacher's; weights and labels; the same logs."""
        tf.keras.mixed_precision.set_global_policy("float64")
        task = create_task(distilled(folder, settings=dict(blocks=2.0, outputs=0.5, labels=True)))
        student = task.initial_model()
        student.compile("sgd", task.loss(), task.metrics())
        inputs, labels = batch()
        calls, encode = [], widenet.Encoder._encode
        monkeypatch.setattr(widenet.Encoder, "_encode", lambda encoder, *given: calls.append(encoder) or encode(encoder, *given))
        logs = {name: float(value) for name, value in student.test_step((inputs, labels)).items()}
        assert len(calls) == len(set(map(id, calls))) == 2  # one forward pass of each

        teacher = bert.load_model(folder / "teacher")
        taught, of_student = (bert.create_model("bert_tiny", features_only=True, **encoder_settings(task)) for _ in range(2))
        for blocks, whole in ((taught, teacher), (of_student, student)):
            blocks.set_weights(whole.get_weights()[: len(blocks.weights)])
        shares = [share_by_hand(*pair, inputs["input_mask"]) for pair in zip(taught(inputs), of_student(inputs), strict=True)]
        logits = student(inputs).numpy()
        outputs = share_by_hand(teacher(inputs), logits)
        own = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels.numpy(), strict=True)])
        # Metrics of Keras are float32.
        assert logs["block_1_unexplained"] == pytest.approx(shares[0], rel=1e-6)
        assert logs["block_2_unexplained"] == pytest.approx(shares[1], rel=1e-6)
        assert logs["classifier_unexplained"] == pytest.approx(outputs, rel=1e-6)
        assert logs["loss"] == pytest.approx(2 * np.mean(shares) + 0.5 * outputs + own, rel=1e-6)
        assert min(*shares, outputs) > 0.1

    @pytest.mark.train
    def test_balance_losses_stay_in(self, folder):
        """And the gradient is that of the whole loss: it changes the router, whose only other loss is the blocks'."""
        config = distilled(folder, {"model.depth": 1}, model="widenet_tiny_e4", settings=dict(outputs=0.0))
        task = create_task(config)
        student = task.initial_model()
        student.compile("sgd", task.loss(), task.metrics())
        logs = student.train_on_batch(*batch(), return_dict=True)
        # The weighted balance loss of its one block.
        expected = logs["block_1_unexplained"] + config.model.balance_weight * logs["balance"]
        assert logs["loss"] == pytest.approx(expected, rel=1e-5)
        assert "accuracy" not in logs  # of logits that nothing trains

    @pytest.mark.train
    def test_two_replicas_make_the_step_of_one(self, folder):
        """They have different numbers of tokens, and neither has the mean of the whole batch."""
        tf.keras.mixed_precision.set_global_policy("float64")
        to_one_device = tf.distribute.ReductionToOneDevice()
        two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=to_one_device)
        found = []
        for strategy in (tf.distribute.get_strategy(), two):
            tf.keras.utils.set_random_seed(1)
            with strategy.scope():
                task = create_task(distilled(folder, {"model.depth": 1}))
                student = task.initial_model()
                student.compile(tf.keras.optimizers.legacy.SGD(0.1), task.loss(), task.metrics())
            before = student.get_weights()
            history = student.fit(tf.data.Dataset.from_tensors(batch()), verbose=0).history
            found.append((before, student.get_weights(), history))
        (start, one, logs), (_, other, logs_of_two) = found
        for array, expected in zip(other, one, strict=True):
            np.testing.assert_allclose(array, expected, rtol=0, atol=1e-12)  # sums in another order, in float64
        assert max(abs(a - b).max() for a, b in zip(start, one, strict=True)) > 1e-3
        for name in ("loss", "block_1_unexplained", "classifier_unexplained"):
            assert logs_of_two[name] == pytest.approx(logs[name], rel=1e-6), name  # metrics are float32


def encoder_settings(task):
    names = ("vocab_size", "embedding_dim", "max_length", "type_vocab_size", "width", "heads", "ffn_dim", "depth")
    return dict({name: task.config.model[name] for name in names}, task="encoder")


def test_matching_blocks():
    """One to one, or the one that ends at the same depth, or just after; the last is the last."""
    assert matching_blocks(6, 6) == [0, 1, 2, 3, 4, 5]
    assert matching_blocks(3, 6) == [1, 3, 5]
    assert matching_blocks(4, 6) == [1, 2, 4, 5]
    assert matching_blocks(6, 3) == [0, 0, 1, 1, 2, 2]
    assert matching_blocks(2, 0) == matching_blocks(0, 2) == []


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """(workdir, summary, digests of the teacher's files before) of a run that began as its teacher, in float32."""
    before = files_and_digests(folder / "teacher")
    workdir = tmp_path_factory.mktemp("student")
    summary = train.run(distilled(folder, {"init": str(folder / "teacher"), "train.lr": 0.0}, steps=2, eval_every=1), workdir)
    return workdir, summary, before


@pytest.mark.train
def test_a_student_like_its_teacher(finished):
    """Explains everything; the same operations on the same numbers, but for fused ones in the training step."""
    _, summary, _ = finished
    for name in ("block_1_unexplained", "block_2_unexplained", "classifier_unexplained", "loss"):
        assert summary["metrics"][f"val_{name}"] < 1e-9


@pytest.mark.train
def test_what_is_left_is_the_student(folder, finished):
    """In checkpoint and export: every weight of it, under its name, and nothing of the teacher, whose files are as before."""
    workdir, _, before = finished
    assert files_and_digests(folder / "teacher") == before
    plain = TextClassification(text_config(folder)).create_model()
    names = [weight.name.removesuffix(":0") for weight in plain.weights]
    assert sorted(read_weights(workdir)) == sorted(read_weights(workdir / "saved_model")) == sorted(names)
    checkpoint = tf.train.list_variables(str(workdir / "checkpoints" / "step-2"))
    of_teacher = tf.train.list_variables(str(folder / "teacher" / "checkpoints" / "step-1"))
    assert {key for key, _ in checkpoint} == {key for key, _ in of_teacher}
    for name, array in read_weights(folder / "teacher").items():
        np.testing.assert_array_equal(read_weights(workdir)[name], array, err_msg=name)  # at a learning rate of 0


@pytest.mark.train
def test_without_the_teacher(folder, finished, tmp_path):
    """Run and export are evaluated alike and loaded, and another run starts from them."""
    workdir, summary, _ = finished
    hidden = (folder / "teacher").rename(folder / "gone")
    try:
        of_run = evaluate.evaluate(workdir)[0]["metrics"]
        of_export = evaluate.evaluate(workdir / "saved_model", output=tmp_path / "files")[0]["metrics"]
        assert of_run["accuracy"] == of_export["accuracy"] == summary["metrics"]["val_accuracy"]
        model = bert.load_model(workdir)
        assert model.output_names == ["classifier"]
        following = train.Run(text_config(folder, {"init": str(workdir)}), tmp_path / "run")
        assert {row.result for row in following.transferred} == {"loaded"}
    finally:
        hidden.rename(folder / "teacher")


@pytest.mark.train
def test_logs(finished):
    """A column, a scalar and no line for each block; the settings are in the export."""
    workdir, _, _ = finished
    rows = read_table(workdir / "metrics.csv")
    assert {"block_1_unexplained", "val_block_2_unexplained", "val_classifier_unexplained"} <= set(rows[-1])
    assert [step for step, _ in events(workdir)["validation", "block_2_unexplained"]] == [1, 2]
    config = json.loads((workdir / "saved_model" / "assets.extra" / "config.json").read_text())
    assert config["task"] == "official.distillation:Distillation"
    assert config["distillation"]["task"] == "bert.classification:TextClassification"


@pytest.mark.train
def test_resumes(folder, tmp_path):
    """Bit by bit, since the teacher draws no random numbers."""
    states = []
    for name, stops in (("whole", [4]), ("halves", [2, 4])):
        for steps in stops:
            run = train.Run(distilled(folder, {"model.depth": 1}, steps=steps, weight_decay=0.0), tmp_path / name)
            run.model.optimizer.learning_rate = create_schedule(0.01, 4, 0)  # of the whole, as if this were its first half
            with without_export():
                run.train()
        states.append([variable.numpy() for variable in (*run.model.weights, *run.model.optimizer.variables())])
    for array, expected in zip(*states, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"teacher": ""}, "^distillation.teacher='' is not allowed: it must be a trained model to learn from$"),
        ({"teacher": "/nowhere"}, "^distillation.teacher: source='/nowhere' is not allowed: .*; no such file or folder "),
        ({"blocks": 0.0, "outputs": 0.0}, "^distillation.blocks=0.0 is not allowed: it must be .* above 0 where"),
        ({"outputs": -1.0}, "^distillation.outputs=-1.0 is not allowed: it must be at least 0$"),
    ],
)
def test_settings_that_are_refused(folder, settings, message):
    config = distilled(folder, {"model.depth": 1})
    config.distillation.update(settings)
    with pytest.raises(ValueError, match=message):
        create_task(config).initial_model()


def test_teachers_that_are_refused(folder, tmp_path):
    """Of another width, vocabulary, casing or number of classes, or too short; but for classes if outputs are left alone."""
    path = str(folder / "teacher")
    task = create_task(distilled(folder))
    teacher = task.trained_model(path, "distillation.teacher")
    settings = task.config.distillation
    sizes = dict(task="classification", name="student", vocab_size=10, **MODEL)
    with pytest.raises(ValueError, match="teacher='.*teacher' is not allowed: its width is 16, and that of student 8$"):
        compare(bert.create_model("bert_tiny", **{**sizes, "width": 8}), teacher, ["classifier"], settings)
    student = bert.create_model("bert_tiny", **sizes, classes=3)
    with pytest.raises(ValueError, match="classifier has 2 values, and that of student 3 .with distillation.outputs=0"):
        compare(student, teacher, ["classifier"], settings)
    settings.outputs = 0.0
    assert compare(student, teacher, ["classifier"], settings) == ([0, 1], [])

    words = (folder / "vocab.txt").read_text().split()
    other = tmp_path / "vocab.txt"
    lower_case = "it was trained with data.lower_case=True, and data.lower_case is False$"
    for tokens, changes, message in (
        ([*words, "new"], {}, f"its vocabulary has {len(words)} tokens, and data.vocabulary {len(words) + 1}$"),
        (words[::-1], {}, "its vocabulary is .*vocab.txt, which has other tokens than data.vocabulary='.*vocab.txt'$"),
        (words, {"data.lower_case": False}, lower_case),
        (words, {"model.max_length": 40, "data.max_length": 40}, "it has 32 positions, and data.max_length is 40$"),
    ):
        other.write_text("".join(f"{token}\n" for token in tokens))
        config = distilled(folder, {"data.vocabulary": str(other)}, changes)
        with pytest.raises(ValueError, match=f"^distillation.teacher='.*teacher' is not allowed: {message}"):
            create_task(config).trained_model(path, "distillation.teacher")


def test_names_of_tasks(tmp_path):
    """The task around another, whose settings it explains, too; not around itself, nor around a stranger's without leave."""
    words = words_config(write_words(tmp_path / "words.txt"))
    config = distillation_recipe(words, teacher="runs/teacher")
    assert task_class(config, is_recipe=True).mro()[1].__name__ == "Distillation"
    with pytest.raises(ValueError, match="Words' is not allowed: .* of this project or of a module that --task_module names"):
        task_class(config)
    with pytest.raises(ValueError, match="^distillation.task is needed with task='official.distillation:Distillation'"):
        task_class(distillation_recipe(config, teacher="runs/teacher"))
    with pytest.raises(ValueError, match="^distillation.task is needed"):
        task_class(ConfigDict(dict(task="official.distillation:Distillation")))
    task = create_task(config, task_modules=["tests.official.words"])
    with pytest.raises(ValueError, match="teacher='runs/teacher' is not allowed: Distillation has no trained_model"):
        task.initial_model()
    meanings = train.setting_meanings(distillation_recipe(tiny_config(), teacher="runs/teacher"))
    assert {"train", "distillation", "data", "model"} <= set(meanings)
    assert set(meanings["distillation"]) == set(config.distillation)


def test_outputs_alone(tmp_path):
    """Of models that have no blocks and a dict of outputs, each with a loss."""
    student, teacher = (words_model(name) for name in ("student", "teacher"))
    settings = ConfigDict(dict(teacher="x", blocks=1.0, outputs=1.0))
    compared = compare(student, teacher, ["color"], settings)
    assert compared == ([], ["color"])
    lesson = Lesson(student, teacher, compared, settings, lambda inputs: {})
    inputs = tf.constant([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]])
    with lesson.watch(student):
        loss = lesson.loss(student, inputs, student(inputs))
    expected = share_by_hand(teacher(inputs)["color"], student(inputs)["color"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)  # float32
    with pytest.raises(ValueError, match="it has no block and no output that student has, too$"):
        compare(student, teacher, ["other"], settings)


def words_model(name):
    inputs = tf.keras.Input([2])
    outputs = {"color": tf.keras.layers.Dense(3, name="color")(inputs), "length": tf.keras.layers.Dense(1, name="length")(inputs)}
    return tf.keras.Model(inputs, outputs, name=name)


@pytest.mark.further
def test_images(tmp_path):
    """Pre-norm blocks without a mask; a teacher for other patches is refused."""
    one_block = {**DENSE, "model.depth": 1, "model.dropout": 0.0}
    saved_run(tiny_config(one_block), tmp_path / "teacher")
    config = distillation_recipe(tiny_config(one_block, {"model.depth": 2}, seed=1), teacher=str(tmp_path / "teacher"))
    task = create_task(config)
    student = task.initial_model()
    student.compile("sgd", task.loss(), task.metrics())
    images, labels = next(iter(task.validation_dataset()))
    logs = student.test_on_batch(images, labels, return_dict=True)
    assert logs["block_1_unexplained"] > 0.1
    teacher = task.trained_model(str(tmp_path / "teacher"), "teacher")
    expected = share_by_hand(teacher(images), student(images))
    assert logs["head_unexplained"] == pytest.approx(expected, rel=1e-4)  # float32
    (_, blocks), (_, taught) = (model.call_with_blocks(images) for model in (student, teacher))
    assert logs["block_2_unexplained"] == pytest.approx(share_by_hand(taught[0].output, blocks[1].output), rel=1e-4)
    config.model.patch_size = 2
    with pytest.raises(ValueError, match="its patch_size is 4, and model.patch_size 2$"):
        create_task(config).initial_model()
