"""Questions as windows of tokens: what each window holds, by hand; which questions are refused; sets and files."""

import hashlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from bert.squad.datasets import open_questions
from bert.squad.pipeline import QuestionPipeline
from bert.squad.questions import Question, read_json
from bert.squad.settings import check_data_settings, data_settings
from bert.tokenizer import open_tokenizer
from bert.tokenizers.packing import PADDINGS
from official.data.bad_examples import BadExamples
from tests.bert.squad_examples import PREPARED, REAL, needs_real_set, write_questions, write_vocabulary

CONTEXT = "Zoë's café opened in 1990. It closed in 2001, and Zoë left."
PARAGRAPHS = {
    CONTEXT: {
        "When did it open?": ["1990", "in 1990"],
        "Who left?": ["Zoë"],
        "When did it burn?": [],
    },
    "Short.": {"What is it?": ["Short"]},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [CONTEXT, *(question for questions in PARAGRAPHS.values() for question in questions), "short"]
    return open_tokenizer(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt", texts))


def settings(**overrides):
    return ConfigDict(data_settings(**{**dict(max_length=16, max_query_length=4, doc_stride=6), **overrides}))


def windows_of(questions, tokenizer, bad_examples=None, **overrides):
    return QuestionPipeline(questions, tokenizer, settings(**overrides), bad_examples or BadExamples("refuse"), "some set, train")


@pytest.fixture(scope="module")
def data(tokenizer, tmp_path_factory):
    return windows_of(read_json(write_questions(tmp_path_factory.mktemp("data") / "train.json", PARAGRAPHS)), tokenizer)


TOKENS = "zoe ' s cafe opened in 1990 . it closed in 2001 , and zoe left .".split()


def test_windows_by_hand(data, tokenizer):
    """Room for 9 tokens beside "when did it open", which is cut, and for 10 beside "who left ?"; a stride of 6."""
    numbers = [0, 1, 2, 4, 9]
    inputs = data.inputs(tf.constant(numbers, tf.int64))
    cut, who = "[CLS] when did it open [SEP]".split(), "[CLS] who left ? [SEP]".split()
    expected = [
        [*cut, *TOKENS[:9], "[SEP]"],
        [*cut, *TOKENS[6:15], "[SEP]"],
        [*cut, *TOKENS[12:], "[SEP]"],
        [*who, *TOKENS[6:16], "[SEP]"],
        "[CLS] what is it ? [SEP] short . [SEP]".split(),
    ]
    for ids, mask, types, tokens in zip(
        *(inputs[key].numpy() for key in ("input_word_ids", "input_mask", "input_type_ids")), expected, strict=True
    ):
        padding = 16 - len(tokens)
        asked = tokens.index("[SEP]") + 1
        assert tokenizer.to_tokens(ids) == tokens + ["[PAD]"] * padding
        assert mask.tolist() == [1] * len(tokens) + [0] * padding
        assert types.tolist() == [0] * asked + [1] * (len(tokens) - asked) + [0] * padding
    # 1990 stands at 6 + 6 and 6; the first Zoë in the first window, and the second one is not a gold answer.
    assert data.labels[numbers].tolist() == [[12, 12], [6, 6], [0, 0], [0, 0], [6, 6]]
    assert data.labels.shape == (10, 2)
    assert data.answers == [[(6, 6), (5, 6)], [(0, 0)], [], [(0, 0)]]
    assert data.tokens_per_window == pytest.approx((5 * 16 + 12 + 11 + 12 + 16 + 9) / 10)


def test_as_long_as_the_longest(data):
    """The same tokens, and no more padding than the batch needs."""
    numbers = tf.constant([2, 9], tf.int64)
    padded, short = data.inputs(numbers), data.inputs(numbers, static=False)
    for key, value in short.items():
        assert value.shape == (2, 12)
        np.testing.assert_array_equal(value, padded[key][:, :12])
        assert not padded[key][:, 12:].numpy().any()


def test_text_is_that_of_the_context(data):
    """With its case and accents, and whatever stands between the tokens."""
    assert data.text(0, 0, 3) == "Zoë's café"
    assert data.text(2, 16, 16) == "."
    assert data.text(3, 0, 1) == "Short."


def question(context, *answers, name="q1"):
    answers = tuple((text, context.index(text)) for text in answers)
    return Question(name, f"file, question {name}", "Who?", context, answers, False)


def test_answers_inside_tokens(tokenizer):
    """An answer that begins or ends inside a token has the whole token; one of several tokens has all of them."""
    data = windows_of([question("It opened in 1990.", "open", "pened in 19", "in 1990", ".")], tokenizer)
    assert data.answers == [[(1, 1), (1, 3), (2, 3), (4, 4)]]
    assert data.text(0, 1, 1) == "opened"


def test_answers_in_any_script(tmp_path):
    """What comes back is the answer, character for character: composed or not, ideographs, emoji, control characters."""
    context = "Cafe\u0301 東京タワー 🐈\u200d⬛ naïve— 한글 ﬁn ½ İstanbul Straße x\0y e\u0301\u0302 q\u00adr \u0391\u03a3."
    tokenizer = open_tokenizer(write_vocabulary(tmp_path / "vocab.txt", [context]))
    words = context.split()
    data = windows_of([question(context, word, name=word) for word in words], tokenizer, max_length=64)
    assert [data.text(number, *answers[0]) for number, answers in enumerate(data.answers)] == words


@pytest.mark.parametrize(
    "bad, said",
    [
        (question("", name="q7"), "its context has no tokens"),
        (question("It \u200b opened.", "\u200b", name="q7"), r"its answer '\u200b' has no tokens"),
        (question("It opened.", name="q7")._replace(answers=(("It", 1),)), "its answer 'It' should start"),
    ],
)
def test_questions_that_cannot_be_used(tokenizer, bad, said):
    """Refused with their names; or left out, and the others are as if they had never been."""
    good = [question("It opened in 1990.", "1990"), question("Zoë left.", "Zoë", name="q2")]
    with pytest.raises(ValueError, match="^" + re.escape(f"file, question q7: {said}")):
        windows_of([good[0], bad, good[1]], tokenizer)
    bad_examples = BadExamples("skip")
    found, expected = windows_of([good[0], bad, good[1]], tokenizer, bad_examples), windows_of(good, tokenizer)
    assert list(bad_examples.found) == ["file, question q7"]
    assert found.questions == expected.questions == good
    np.testing.assert_array_equal(found.labels, expected.labels)
    with pytest.raises(ValueError, match=r"^none of the 1 questions of some set, train is usable$"):
        windows_of([bad], tokenizer, BadExamples("skip"))


@pytest.mark.parametrize(
    "overrides, said",
    [
        (dict(max_length=67), "data.max_length=67 is not allowed: it must be at least 68, for data.max_query_length"),
        (dict(doc_stride=318), "data.doc_stride=318 is not allowed: it must be from 1 to 317, the tokens of a context beside"),
        (dict(max_query_length=0), "data.max_query_length=0 is not allowed: it must be at least 1"),
        (dict(padding="none"), "data.padding='none' is not allowed: it must be one of static, batch, grouped"),
        (dict(n_best=0), "data.n_best=0 is not allowed: it must be at least 1"),
        (dict(max_answer_length=0), "data.max_answer_length=0 is not allowed: it must be at least 1"),
        (dict(null_threshold="worst"), "data.null_threshold='worst' is not allowed: it must be a number or 'best'"),
        (dict(null_threshold=True), "data.null_threshold=True is not allowed: it must be a number or 'best'"),
    ],
)
def test_settings_out_of_range(overrides, said):
    check_data_settings(ConfigDict(data_settings(doc_stride=317, null_threshold=-1.5)))
    check_data_settings(ConfigDict(data_settings(null_threshold="-1.5")))  # as the evaluation command has it
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        check_data_settings(ConfigDict(data_settings(**overrides)))


def test_unknown_setting():
    with pytest.raises(ValueError, match=r"^stride=.* is not a setting of data \(did you mean doc_stride\?\); known: "):
        data_settings(stride=3)


def windows_in(batches):
    """{place: (tokens without padding, label)} of batches of (inputs, {place, label})."""
    found = {}
    for inputs, labels in batches:
        for place, tokens, label in zip(labels["place"].numpy(), tokens_in(inputs), labels["label"].numpy(), strict=True):
            assert int(place) not in found
            found[int(place)] = (tokens, label.tolist())
    return found


def tokens_in(inputs):
    """The ids of each window of a batch, lists without padding."""
    ids, masks = inputs["input_word_ids"].numpy(), inputs["input_mask"].numpy()
    return [row[mask == 1].tolist() for row, mask in zip(ids, masks, strict=True)]


class TestBatches:
    def test_evaluation(self, data):
        """Each window once, those of a question in a row; whatever the padding."""
        batches = data.evaluation_batches(4, places=True)
        assert int(batches.cardinality()) == 3
        found = windows_in(batches)
        assert found == windows_in(data.evaluation_batches(4, static=True, places=True))
        assert list(found) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]  # all questions but the last one have a full window
        for place, (tokens, label) in found.items():
            inputs = data.inputs(tf.constant([place], tf.int64), static=False)
            assert tokens == inputs["input_word_ids"][0].numpy().tolist()
            assert label == data.labels[place].tolist()
        shapes = [inputs["input_mask"].shape for inputs, _ in data.evaluation_batches(4, static=True)]
        assert shapes == [(4, 16), (4, 16), (2, 16)]

    def test_longest_questions_first(self, tokenizer):
        contexts = ["Short.", "It opened in 1990.", CONTEXT]
        data = windows_of([question(context, name=context) for context in contexts], tokenizer)
        assert list(windows_in(data.evaluation_batches(2, places=True))) == [2, 3, 1, 0]
        assert [labels.shape for _, labels in data.evaluation_batches(3)] == [(3, 2), (1, 2)]

    @pytest.mark.parametrize("padding", PADDINGS)
    def test_training_goes_on_where_it_was(self, data, padding):
        """From any step on the same bytes as without a stop; an epoch has every window once; other seeds, other orders."""

        def digests(seed, start, count):
            batches = data.train_batches(5, seed, start, padding).take(count)
            batches = (b"".join(tensor.numpy().tobytes() for tensor in tf.nest.flatten(batch)) for batch in batches)
            return [hashlib.sha256(batch).hexdigest() for batch in batches]

        whole = digests(seed=3, start=0, count=7)
        assert len(set(whole)) == 7
        assert digests(3, 3, 4) == whole[3:]
        assert digests(4, 0, 1) != whole[:1]

    def test_an_epoch(self, data):
        """Two batches of five hold every window with its label once."""
        expected = sorted((tokens, label) for tokens, label in windows_in(data.evaluation_batches(10, places=True)).values())
        for start in (0, 2):
            found = []
            for inputs, labels in data.train_batches(5, 0, start).take(2):
                assert {value.shape for value in inputs.values()} == {(5, 16)}
                found.extend(zip(tokens_in(inputs), labels.numpy().tolist(), strict=True))
            assert sorted(found) == expected

    def test_static_shape(self, data, tokenizer):
        """For TPUs; no longer than the longest window needs, in multiples of 8."""
        inputs, labels = data.train_batches(5, 0, 0).element_spec
        assert {tuple(spec.shape) for spec in inputs.values()} == {(5, 16)}
        assert tuple(labels.shape) == (5, 2)
        short = windows_of([question("Short.")], tokenizer)
        assert short.static_length == 8  # "[CLS] who ? [SEP] short . [SEP]" has 7
        inputs, _ = next(iter(short.train_batches(2, 0, 0)))
        assert inputs["input_word_ids"].shape == (2, 8)


class TestFiles:
    def test_each_role_has_its_file(self, tmp_path):
        """Relative to data.dir; only the questions of the test need no answers."""
        write_questions(tmp_path / "train.json", {"a": {"?": ["a"]}})
        write_questions(tmp_path / "test.json", {"b": {"?": None}})
        files = open_questions(settings(name="file", dir=str(tmp_path), train_file="train.json", test_file="test.json"))
        assert [question.answers for question in files.load("train")] == [(("a", 0),)]
        assert [question.answers for question in files.load("test")] == [None]
        with pytest.raises(ValueError, match=r"^data.validation_file='' is not allowed: it must be the path of a JSON file"):
            files.load("validation")
        with pytest.raises(ValueError, match=r"^'dev' is not a split: it must be one of train, validation, test$"):
            files.load("dev")
        files = open_questions(settings(name="file", dir=str(tmp_path), train_file="test.json"))
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'test.json'}, question q0 has no 'answers'")):
            files.load("train")

    def test_some_answers_are_known(self, tmp_path):
        path = write_questions(tmp_path / "test.json", {"b": {"?": None, "!": ["b"]}})
        with pytest.raises(ValueError, match=re.escape(f"{path}, question q0 has no 'answers', unlike other questions")):
            read_json(path, needs_answers=False)


def store(folder, name, **features_of_questions):
    """Prepares a set with a split "train" of these questions, lists of values by feature, as TensorFlow Datasets has SQuAD."""
    answers = {"text": tfds.features.Text(), "answer_start": np.int32}
    known = dict(
        id=tfds.features.Text(),
        question=tfds.features.Text(),
        context=tfds.features.Text(),
        answers=tfds.features.Sequence(answers),
    )
    rows = [dict(zip(features_of_questions, row, strict=True)) for row in zip(*features_of_questions.values(), strict=True)]
    features = tfds.features.FeaturesDict({key: known[key] for key in features_of_questions})
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=features,
        split_datasets={"train": tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=features.get_tensor_spec())},
        data_dir=folder,
    )


class TestPrepared:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        """As SQuAD 1.1, whose questions all have answers and do not say so."""
        folder = tmp_path_factory.mktemp("prepared")
        answers = [{"text": ["Zoë", "Zoë"], "answer_start": [0, 4]}, {"text": [], "answer_start": []}]
        store(folder, "old_squad", id=["a", "b"], question=["Who?", "When?"], context=["Zoë Zoë", b"\xff"], answers=answers)
        store(folder, "some_texts", id=["a"])
        return str(folder)

    def test_reads(self, folder):
        questions = open_questions(settings(name="old_squad", dir=folder)).load("train")
        assert questions[0] == Question("a", "old_squad train, question a", "Who?", "Zoë Zoë", (("Zoë", 0), ("Zoë", 4)), False)
        assert questions[1].answers == ()

    def test_not_unicode(self, folder, tokenizer):
        """A context of other bytes is refused by name."""
        questions = open_questions(settings(name="old_squad", dir=folder)).load("train[1:]")
        with pytest.raises(ValueError, match=r"^old_squad train\[1:\], question b: its context is not Unicode: "):
            windows_of(questions, tokenizer)

    @pytest.mark.parametrize(
        "data, said",
        [
            (dict(name=""), "data.name='' is not allowed: it must be 'squad/v1.1', 'squad/v2.0' or 'file'"),
            (dict(name="squad/v1.1"), "data.name='squad/v1.1' is not allowed: it is not 'file', and no such set is prepared in "),
            (dict(name="some_texts"), "data.name='some_texts' is not allowed: it must have questions with contexts and answers"),
        ],
    )
    def test_not_there(self, folder, data, said):
        with pytest.raises(ValueError, match="^" + re.escape(said)):
            open_questions(settings(dir=folder, **data))

    def test_splits(self, folder):
        """Those of the roles are settings, and are named where they are wrong; any other stands for itself."""
        questions = open_questions(settings(name="old_squad", dir=folder, validation_split="train[1:]"))
        assert [question.id for question in questions.load("validation")] == ["b"]
        assert [question.id for question in questions.load("train[:1]")] == ["a"]
        questions = open_questions(settings(name="old_squad", dir=folder))
        with pytest.raises(ValueError, match=r"^data.validation_split='validation' is not allowed: 'validation' is not a"):
            questions.load("validation")
        with pytest.raises(ValueError, match=r"^'dev' is not a split of old_squad"):
            questions.load("dev")

    @needs_real_set
    def test_real_set(self):
        """All questions of SQuAD 2.0's articles in the order of the file, as TensorFlow Datasets reads them."""
        questions = open_questions(settings(name="squad/v2.0", dir=str(PREPARED))).load("validation")
        expected = tfds.builder_from_directory(REAL / "3.0.0").as_dataset(split="validation").as_numpy_iterator()
        for question, example in zip(questions, expected, strict=True):
            assert (question.id, question.context) == (example["id"].decode(), example["context"].decode())
            assert question.question == example["question"].decode()
            assert [text for text, _ in question.answers] == [text.decode() for text in example["answers"]["text"]]
            assert [start for _, start in question.answers] == example["answers"]["answer_start"].tolist()
            assert question.impossible == example["is_impossible"] == (not question.answers)
        assert len({question.id for question in questions}) == 748
