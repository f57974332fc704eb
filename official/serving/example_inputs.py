"""Inputs to compare two runtimes on: from a recipe's data, from a file, or random."""

import zipfile
from typing import NamedTuple

import numpy as np

BATCH = 16
RANDOM_LENGTH = 32  # of axes of unknown size


class ExampleInputs(NamedTuple):
    """Inputs of a signature.

    Attributes:
      batches: list of {name of an input: array [batch, ...]}.
      origin: where they come from, for the report.
    """

    batches: list[dict[str, np.ndarray]]
    origin: str

    def first(self, count):
        """{name: array [count, ...]}: examples of the first batch (those of texts differ in length), repeated if it has fewer."""
        batch = self.batches[0]
        indices = np.arange(count) % len(next(iter(batch.values())))
        return {name: array[indices] for name, array in batch.items()}


def read_examples(path, specs):
    """Reads examples from a NumPy file of arrays.

    Args:
      path: of an .npz file with an array for each input, by its name; the array of a single input may have any name.
      specs: {name of an input: tf.TensorSpec}.

    Returns:
      An ExampleInputs.

    Raises:
      ValueError: no such file, or an array that is missing or does not fit its input.
    """
    try:
        # Of an array alone, `with` raises TypeError, and AttributeError under Python 3.10.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise ValueError(f"examples={str(path)!r} is not a NumPy .npz file that can be read: {error}") from error
    if len(specs) == len(arrays) == 1:
        arrays = dict(zip(specs, arrays.values(), strict=True))
    missing = ", ".join(name for name in specs if name not in arrays)
    if missing:
        raise ValueError(f"examples={str(path)!r} has no array for the input {missing}; it has {', '.join(arrays) or 'none'}")
    for name, spec in specs.items():
        if not spec.shape.is_compatible_with(arrays[name].shape):
            raise ValueError(f"examples={str(path)!r}: {name} is {list(arrays[name].shape)} and must be {spec.shape}")
    sizes = {len(arrays[name]) for name in specs}
    if sizes == {0} or len(sizes) > 1:
        raise ValueError(
            f"examples={str(path)!r}: all inputs must have the same number of examples, at least one; here {sorted(sizes)}"
        )
    whole = {name: arrays[name].astype(spec.dtype.as_numpy_dtype) for name, spec in specs.items()}
    return ExampleInputs(_split(whole), f"the {sizes.pop()} examples in {path}")


def random_examples(specs, count, seed=0):
    """Random examples: floats in [-1, 1), integers 0 and 1, which are valid whatever they mean.

    Args:
      specs: {name: tf.TensorSpec} with a batch axis each. Other axes of unknown size get RANDOM_LENGTH.
      count: number of examples.
      seed: of the generator.
    """
    random = np.random.default_rng(seed)
    arrays = {}
    for name, spec in specs.items():
        shape = [count, *(RANDOM_LENGTH if size is None else size for size in spec.shape[1:])]
        values = random.uniform(-1, 1, shape) if spec.dtype.is_floating else random.integers(0, 2, shape)
        arrays[name] = values.astype(spec.dtype.as_numpy_dtype)
    return ExampleInputs(_split(arrays), f"{count} random examples of seed {seed}")


def dataset_examples(dataset, specs, count, origin):
    """The first examples of a task's `evaluation_dataset`, in its own batches.

    Args:
      dataset: a tf.data.Dataset of (inputs, labels); inputs are a dict, or the only input.
      specs: {name: tf.TensorSpec}.
      count: the largest number of examples.
      origin: what follows "the first N examples of " in the report.
    """
    batches, left = [], count
    for inputs, _ in dataset:
        arrays = inputs if isinstance(inputs, dict) else dict.fromkeys(specs, inputs)
        batches.append({name: arrays[name].numpy()[:left] for name in specs})
        left -= len(next(iter(batches[-1].values())))
        if left <= 0:
            break
    return ExampleInputs(batches, f"the first {count - max(left, 0)} examples of {origin}")


def _split(arrays):
    count = len(next(iter(arrays.values())))
    return [{name: array[start : start + BATCH] for name, array in arrays.items()} for start in range(0, count, BATCH)]
