"""Question answering as a task: its loss and metrics by hand, a run that learns a few answers, and what is exported."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from bert.models import INPUTS
from bert.question_answering import SPAN_PARTS, QuestionAnswering, SpanAccuracy, SpanLoss
from bert.recipes import squad_recipe
from official import evaluate, train
from official.task import Split
from tests.bert.squad_examples import write_questions, write_vocabulary

NAMES = ("Anna", "Bénédicte", "Carlos", "Dora", "Emil", "Fatima", "met", "saw", "and", ".")
AGES, JOBS = ("old", "young", "new"), ("baker", "nurse", "pilot", "poet", "tailor", "judge")
QUESTIONS = ("Who is it?", "Who was there?")


def paragraphs(seed, count):
    """{context: {question: answers}}, contexts of 27 words, among them an age and a job, the answer, or in a third neither."""
    random, found = np.random.default_rng(seed), {}
    for number in range(count):
        words = random.choice(NAMES, 25).tolist()
        answer = f"{random.choice(AGES)} {random.choice(JOBS)}" if number % 3 else ""
        words.insert(random.integers(26), answer or "Anna saw")
        found[" ".join(words)] = {random.choice(QUESTIONS): [answer] if answer else []}
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Settings of `data` for a folder with a vocabulary and files of questions."""
    folder = tmp_path_factory.mktemp("questions")
    write_questions(folder / "train.json", paragraphs(0, 60))
    write_questions(folder / "dev.json", paragraphs(1, 15))
    write_questions(folder / "blind.json", {context: dict.fromkeys(asked) for context, asked in paragraphs(2, 7).items()})
    return dict(
        name="file",
        dir=str(folder),
        train_file="train.json",
        validation_file="dev.json",
        test_file="blind.json",
        vocabulary=write_vocabulary(folder / "vocab.txt", [*NAMES, *AGES, *JOBS, *QUESTIONS]),
        max_length=24,
        max_query_length=6,
        doc_stride=10,
        max_answer_length=4,
        n_best=5,
    )


def tiny_config(files, data=(), model=(), **settings):
    """A recipe whose windows have room for 17 of a context's 27 words: two a question."""
    sizes = dict(depth=1, width=32, heads=2, embedding_dim=32, expert_dim=32, num_experts=2, max_length=24)
    no_noise = dict(dropout=0.0, attention_dropout=0.0)
    return squad_recipe(
        "widenet_tiny_e4",
        {**sizes, **no_noise, **dict(model)},
        data={**files, **dict(data)},
        train=dict(batch_size=14, **settings),
    )


def log_softmax(x):
    x = x.astype(np.float64)
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def test_loss():
    """The mean over windows, and over start and end, of minus the log probability; in float64 by NumPy, 1e-6 for float32."""
    logits = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)
    logits[0, 5:] = -1e9  # padding
    labels = np.array([[0, 0], [2, 6], [3, 3]], np.int32)
    expected = -np.mean([[log_softmax(logits[b, :, i])[labels[b, i]] for i in range(2)] for b in range(3)])
    assert SpanLoss()(labels, logits).numpy() == pytest.approx(expected, rel=1e-6)


def test_accuracies():
    """Of four windows three starts and two ends are right, and one is right in both; a running mean."""
    labels = np.array([[1, 2], [1, 2], [0, 0], [3, 3]], np.int32)
    found = np.array([[1, 2], [1, 3], [0, 1], [2, 3]])
    logits = np.eye(4, dtype=np.float32)[found].transpose(0, 2, 1)
    values = {}
    for name in SPAN_PARTS:
        metric = SpanAccuracy(name)
        metric.update_state(labels[:3], logits[:3])
        metric.update_state(labels[3:], logits[3:])
        values[name] = float(metric.result())
    assert values == {"accuracy": 1 / 4, "start_accuracy": 3 / 4, "end_accuracy": 2 / 4}


@pytest.fixture(scope="module")
def workdir(files, tmp_path_factory):
    """A run that has learned what the answers look like."""
    path = tmp_path_factory.mktemp("run") / "workdir"
    train.run(tiny_config(files, lr=0.01, steps=60, warmup_steps=6, eval_every=30), path)
    return path


def test_description(files):
    """Its examples are windows, two a question."""
    assert QuestionAnswering(tiny_config(files)).describe_data() == dict(train=Split(120), validation=Split(30))


def test_learns(workdir):
    """Of contexts that it has not seen, where the answer is and where there is none; what was left open is filled in."""
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["metrics"]["val_accuracy"] == 1
    assert {"val_start_accuracy", "val_end_accuracy", "val_loss"} <= set(summary["metrics"])
    config = summary["config"]
    assert config["data"]["questions"] == 60
    assert config["model"]["vocab_size"] == len(pathlib.Path(config["data"]["vocabulary"]).read_text().splitlines())


def evaluated(model, split, output):
    """(metrics, {file: its content}) of the evaluation command's function."""
    written, files = evaluate.evaluate(model, split, output)
    return written, {path.name: json.loads(path.read_text(encoding="utf-8")) for path in files}


@pytest.fixture(scope="module")
def predictions(workdir):
    """Of the run's checkpoint on the validation file."""
    written, files = evaluated(workdir, "validation", workdir.parent / "evaluation")
    assert (written["examples"], written["unit"]) == (15, "examples")
    assert {"exact": 100, "f1": 100, "total": 15, "HasAns_total": 10, "NoAns_exact": 100}.items() <= written["metrics"].items()
    return files


def test_predictions(predictions, files):
    """In the published format, by the ids of the file."""
    data = json.loads((pathlib.Path(files["dir"]) / "dev.json").read_text())
    entries = [entry for article in data["data"] for entry in article["paragraphs"][0]["qas"]]
    assert predictions["predictions.json"] == {
        entry["id"]: entry["answers"][0]["text"] if entry["answers"] else "" for entry in entries
    }
    assert set(predictions) == {"predictions.json", "nbest_predictions.json", "null_odds.json", "metrics.json"}


@pytest.mark.further
def test_exported_model_is_evaluated_alike(workdir, predictions, tmp_path):
    """Moved away from its run, whose vocabulary it carries; 1e-5 for float32 in batches of another size."""
    shutil.copytree(workdir / "saved_model", tmp_path / "model")
    written, files = evaluated(tmp_path / "model", "validation", tmp_path / "evaluation")
    assert written["config"]["data"]["vocabulary"] == str(tmp_path / "model" / "assets.extra" / "vocab.txt")
    assert files["predictions.json"] == predictions["predictions.json"]
    assert files["null_odds.json"] == pytest.approx(predictions["null_odds.json"], abs=1e-5)


@pytest.mark.further
def test_questions_without_known_answers(workdir):
    """Only predictions; the threshold is then 0."""
    written, files = evaluated(workdir, "test", workdir.parent / "blind")
    assert written["metrics"] == {"null_threshold": 0}
    assert len(files["predictions.json"]) == 7


def test_exported_model_answers(workdir, predictions):
    """In a process of its own, without this project's code: strings to strings, with both windows of a context."""
    contexts = list(paragraphs(1, 15))
    asked = [next(iter(questions)) for questions in paragraphs(1, 15).values()]
    code = """
import json, sys
import tensorflow as tf
import tensorflow_text
model, question, context = json.loads(sys.argv[1])
served = tf.saved_model.load(model)
texts = dict(question=tf.constant(question), context=tf.constant(context))
answers = {key: value.numpy() for key, value in served.signatures["serving_default"](**texts).items()}
assert (served.serve(*texts.values())["scores"].numpy() == answers["scores"]).all()
answers["answers"] = [[text.decode() for text in row] for row in answers["answers"]]
print(json.dumps([
    {key: value if key == "answers" else value.tolist() for key, value in answers.items()},
    [name for name in sys.modules if name in ("bert", "official", "widenet")],
]))
"""
    given = json.dumps([str(workdir / "saved_model"), asked, contexts])
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, cwd="/", timeout=300)
    assert done.returncode == 0, done.stderr
    answers, ours = json.loads(done.stdout.splitlines()[-1])
    assert ours == []
    found, n_best, odds = (predictions[f"{name}.json"] for name in ("predictions", "nbest_predictions", "null_odds"))
    for number, context in enumerate(contexts):
        texts, starts, ends, scores, null_odds = (
            answers[key][number] for key in ("answers", "starts", "ends", "scores", "null_odds")
        )
        best = next(entry for entry in n_best[f"q{number}"] if entry["text"])
        assert texts[0] == best["text"]
        assert scores[0] == pytest.approx(best["start_logit"] + best["end_logit"], abs=1e-5)
        assert null_odds == pytest.approx(odds[f"q{number}"], abs=1e-5)
        assert found[f"q{number}"] in (texts[0], "")
        assert len(texts) == 5
        for text, start, end in zip(texts, starts, ends, strict=True):
            assert context.encode()[start:end].decode() == text


@pytest.fixture(scope="module")
def task(files):
    """Of a fresh model."""
    return QuestionAnswering(tiny_config(files))


@pytest.mark.further
def test_endpoint_answers_as_the_evaluation(task, files, tmp_path):
    """Of random weights, on contexts of up to nine windows and one without a word; 1e-5 for float32 in other batches."""
    random = np.random.default_rng(0)
    words = [*NAMES, *JOBS, "Who", "is", "?"]
    contexts = [" ".join(random.choice(words, length)) for length in (1, 3, 17, 18, 60, 100)]
    questions = [" ".join(random.choice(words, length)) for length in (0, 1, 6, 3, 20, 5)]
    write_questions(tmp_path / "test.json", {c: {q: None} for c, q in zip(contexts, questions, strict=True)})
    config = tiny_config({**files, "test_file": str(tmp_path / "test.json")}, {"questions": 1})
    task = QuestionAnswering(config)
    model = task.create_model()
    for weight in model.trainable_weights:
        weight.assign_add(tf.random.stateless_normal(weight.shape, [0, 1], stddev=0.5))
    evaluation = task.evaluation("test")
    for inputs, labels in task.evaluation_dataset("test"):
        evaluation.add(None, {key: value.numpy() for key, value in labels.items()}, model(inputs).numpy(), None)
    evaluation.write(tmp_path)
    n_best = json.loads((tmp_path / "nbest_predictions.json").read_text())
    odds = json.loads((tmp_path / "null_odds.json").read_text())
    call, signature = task.endpoints(model)["serve"]
    answers = tf.function(call, input_signature=signature)(tf.constant([*questions, "Who?"]), tf.constant([*contexts, " "]))
    answers = {key: value.numpy() for key, value in answers.items()}
    for number in range(6):
        best = next(entry for entry in n_best[f"q{number}"] if entry["text"])
        assert answers["answers"][number, 0].decode() == best["text"]
        assert answers["scores"][number, 0] == pytest.approx(best["start_logit"] + best["end_logit"], abs=1e-5)
        assert answers["null_odds"][number] == pytest.approx(odds[f"q{number}"], abs=1e-5)
        assert answers["scores"][number].tolist() == sorted(answers["scores"][number], reverse=True)
    assert answers["answers"][0].tolist() == [contexts[0].encode(), *[b""] * 4]
    assert np.isneginf(answers["scores"][0, 1:]).all()
    assert answers["answers"][6].tolist() == [b""] * 5
    assert (answers["starts"][6] == 0).all() and (answers["ends"][6] == 0).all()
    assert np.isneginf(answers["scores"][6]).all() and np.isposinf(answers["null_odds"][6])
    for question, context in (("Who?", " "), ("", ""), ("Who?", "")):
        alone = tf.function(call, input_signature=signature)(tf.constant([question]), tf.constant([context]))
        for name, value in answers.items():
            np.testing.assert_array_equal(alone[name], value[6:], err_msg=name)
    none = tf.constant([], tf.string)
    empty = tf.function(call, input_signature=signature)(none, none)
    assert {name: tuple(value.shape) for name, value in empty.items()} == {
        name: (0, *value.shape[1:]) for name, value in answers.items()
    }


def test_batches(task, files):
    """Static in training, as TPUs want them, or as long as they need be; in evaluation each window, two a question."""
    inputs, labels = task.train_dataset(0).element_spec
    assert {name: tuple(spec.shape) for name, spec in inputs.items()} == dict.fromkeys(INPUTS, (14, 24))
    assert tuple(labels.shape) == (14, 2)
    assert int(task.validation_dataset().cardinality()) == 3  # of 30 windows
    assert int(task.evaluation_dataset("train").cardinality()) == 9  # of 120
    assert task.tokens_per_example == 24  # 17 of 27 words, and then 17 from the tenth on, beside four of the question
    inputs, _ = QuestionAnswering(tiny_config(files, {"padding": "batch"})).train_dataset(0).element_spec
    assert {tuple(spec.shape) for spec in inputs.values()} == {(14, None)}


@pytest.mark.parametrize(
    "data, model, said",
    [
        (dict(train_file="no.json"), {}, "no.json cannot be read: No such file or directory"),
        (dict(validation_file=""), {}, "data.validation_file='' is not allowed: it must be the path of a JSON file"),
        (dict(vocabulary=""), {}, "data.vocabulary='' is not allowed: "),
        (dict(vocabulary="no.txt"), {}, "data.vocabulary='no.txt' is not allowed: no.txt: the file does not exist"),
        (dict(max_length=40), {}, "data.max_length=40 is not allowed: it must be at most model.max_length=24"),
        (dict(doc_stride=30), {}, "data.doc_stride=30 is not allowed: it must be from 1 to 15"),
        (dict(no_answer=False), {}, "question q0: it has no answer, which data.no_answer=False does not allow"),
        (dict(name="squad/v1.1"), {}, "data.name='squad/v1.1' is not allowed: it is not 'file', and no such set is prepared in "),
        ({}, dict(vocab_size=7), "model.vocab_size=7 is not allowed: it must be "),
    ],
)
def test_refused(files, data, model, said):
    """At once, in one sentence."""
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        QuestionAnswering(tiny_config(files, data, model))
    assert "\n" not in str(error.value)
