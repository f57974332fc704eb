"""Splits of data sets: in TensorFlow Datasets' syntax ("train[:90%]", "train+test[:10]"), and which of them plays which role."""


def memory_splits(sizes):
    """What `split_parts` takes of a data set that is not one of TensorFlow Datasets.

    Args:
      sizes: {name of a split: number of examples}.

    Returns:
      {name: tfds.core.SplitInfo}.
    """
    import tensorflow_datasets as tfds

    return {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0, filename_template=None)
        for name, size in sizes.items()
    }


def split_parts(split, infos, name):
    """What a split in TensorFlow Datasets' syntax consists of.

    Args:
      split: such as "train[:90%]".
      infos: {name of a split: tfds.core.SplitInfo}.
      name: of the data set, for messages.

    Returns:
      List of (splitname, from_, to).

    Raises:
      ValueError: a split that there is not, or has no examples; names the splits that there are.
    """
    import tensorflow_datasets as tfds

    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        has_examples = parts and all(range(infos[part.splitname].num_examples)[part.from_ : part.to] for part in parts)
        problem = None if has_examples else "No examples are there."
    except (ValueError, KeyError, AssertionError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        sizes = ", ".join(f"{key} of {infos[key].num_examples:,} examples" for key in infos)
        raise ValueError(f"{split!r} is not a split of {name} ({sizes}): {problem}")
    return parts


def default_splits(names):
    """The split of each role.

    The last tenth of the training split is for validation, unless there are splits for validation and for the test. Where there
    is only one of the two, it is for the test.
    """
    if "train" not in names or {"validation", "test"} <= set(names):
        return {name: name for name in names}
    test = next((name for name in ("test", "validation") if name in names), None)
    carved = dict(train="train[:90%]", validation="train[90%:]")
    return {**carved, "test": test} if test else carved
