"""A BERT or ALBERT of Hugging Face or Google as a model of this zoo."""

import numpy as np

from bert.conversion.google import hugging_face_names
from bert.conversion.names import HEADS, TIED, encoder_names, head_names
from bert.conversion.settings import Shapes, check_type, family_of, read_settings, their_name
from official.conversion.source import Converted, listed

WORDS = "embeddings.word_embeddings.weight"
# The heads that a model of each task has.
TASK_HEADS = {
    "encoder": ("pooler",),
    "classification": ("pooler", "classifier"),
    "span": ("span",),
    "pretraining": ("pooler", "mlm_logits", "next_sentence"),
}
# The task of a source is that of the first of these heads that it has.
HEAD_TASKS = {"classifier": "classification", "span": "span", "mlm_logits": "pretraining"}
# Heads that read like ours, by the end of their class's name.
OTHER_HEADS = {
    "ForTokenClassification": "a classifier of every token",
    "ForMultipleChoice": "a classifier of choices",
    "LMHeadModel": "a head that predicts the next word",
}
ENCODER_ALONE = "--task=embedding of bert.convert and task='encoder' of load_model take the encoder without it"
PADDED_TO = 128  # rows of a word embedding are at most rounded up to a multiple of this


def convert(source, model_settings, given=None, words=None):
    """A source as a model of this zoo.

    Args:
      source: an official.conversion.source.Source.
      model_settings: bert.model_settings.
      given: dict of settings that the user gives: `task`, which leaves out heads of other tasks, and what a source without
        config.json does not tell (bert.conversion.settings.UNSEEN). Others do not count.
      words: number of tokens of the vocabulary; further rows of the word embedding are left out. None to keep all.

    Returns:
      A Converted. Its settings have `task`: that of a head which is taken, or "encoder". Weights that the source lacks, such as
      the pooler of a masked language model, are not in its weights.

    Raises:
      ValueError: what cannot be represented, or does not agree; names the file, and the setting or the tensor.
    """
    given = given or {}
    try:
        check_type(source.config)
        _begin_names(source)
        family = family_of(source.config, source.names())
        shapes = Shapes(source, family)
        settings, instances = read_settings(source.config, family, shapes, given)
        task = _task(source, family, given.get("task"))
        settings |= _classes(source, task)
        settings = model_settings(f"{family}_base", **settings, expert_dim=settings["ffn_dim"])
        names = encoder_names(family, instances, projection=family == "albert")
        heads = head_names(family)
        names += [name for head in TASK_HEADS[task] if heads[head][0].theirs in source for name in heads[head]]
        _check_shapes(source, family, names, settings)
    except ValueError as error:
        raise _named(source, error) from error
    if source.form == "tensorflow" and settings["activation"] == "gelu":
        source.notes.append(
            "its activation is taken as the exact GELU, as Hugging Face does; where Google's code computed it by tanh, as for "
            'ALBERT, its config must have "hidden_act": "gelu_new"'
        )
    weights = {}
    for name in names:
        _place(weights, name, source.take(name.theirs))
    for name, rows in {name.ours: weights[name.ours] for name in names if name.row is not None}.items():
        weights[name] = np.stack([rows[row] for row in range(len(rows))])
    _drop_copies(source, family, weights)
    rows = source.finish()
    if words is not None:
        rows = _cut_words(source, settings, weights, words, rows)
    settings |= {"task": task, "features_only": False}
    return Converted(f"{family}_l{settings['depth']}_h{settings['width']}", settings, weights, rows)


def _place(weights, name, value):
    if name.row is None:
        weights[name.ours] = np.ascontiguousarray(value.T) if name.is_transposed else value
    else:
        weights.setdefault(name.ours, {})[name.row] = value


def _begin_names(source):
    """Makes the encoder's names begin at the encoder, and a head's at the whole model.

    Google's names and the older ones of norms become those of today. If the model is a part of another, which is neither a BERT
    nor an ALBERT, tensors outside it are dropped.
    """
    if source.form == "tensorflow":
        source.rename(hugging_face_names(source.names()))
    source.rename(_modern)
    found = [name.removesuffix(WORDS) for name in source.names() if name == WORDS or name.endswith(f".{WORDS}")]
    if len(found) != 1:
        several = (
            f"those of {', '.join(name.rstrip('.') for name in found)}; --prefix of bert.convert names one" if found else "none"
        )
        raise ValueError(f"it must have one tensor that is called {WORDS}, and it has {several}")
    prefix = found[0]
    if prefix in ("", "bert.", "albert."):
        source.rename(lambda name: name.removeprefix(prefix))
        return
    outside = dict.fromkeys(name for name in source.names() if not name.startswith(prefix))
    if outside:
        source.notes.append(f"tensors outside {prefix.rstrip('.')} are left out: {listed(outside)}")
    source.drop(outside.keys(), f"outside {prefix.rstrip('.')}")
    source.rename(lambda name: f"outside/{name}" if name in outside else name.removeprefix(prefix))


def _modern(name):
    """gamma and beta, as PyTorch's norms were called in early versions, as today."""
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        name = name.replace(old, new)
    return name


def _task(source, family, given):
    """The task of the given ones that the source has a head for, "encoder" where it has none for it; drops the other heads.

    Raises:
      ValueError: without a given task, a head of another kind than ours.
    """
    heads = head_names(family)
    present = [head for head in HEADS if heads[head][0].theirs in source]
    tasks = [task for head, task in HEAD_TASKS.items() if head in present]
    if given and given not in tasks:
        task = "encoder"
        taken = ("embeddings.", "encoder.", "pooler.", "outside/")
        others = {name for name in source.names() if not name.startswith(taken)}
        source.drop(others, f"a head, which task={given!r} does not take")
    else:
        _check_heads(source, present)
        task = given or next(iter(tasks), "encoder")
    for head in present:
        if head not in TASK_HEADS[task]:
            for name in heads[head]:
                what = "an encoder" if task == "encoder" else f"a model with task={task!r}"
                source.drop({name.theirs}, f"{what} has no {_called(head)}")
    return task


def _called(head):
    return {"mlm_logits": "head of masked words", "next_sentence": "head of the next sentence", "span": "head of answers"}.get(
        head, head
    )


def _check_heads(source, present):
    architectures = source.config.get("architectures")
    for architecture in architectures if isinstance(architectures, list) else ():
        for ending, what in OTHER_HEADS.items():
            if str(architecture).endswith(ending):
                has = f"config.json has architectures={architecture!r}"
                raise ValueError(f"{has}: {what} has no counterpart here; {ENCODER_ALONE}")
    more = [name for name in source.names() if name.startswith(("pre_classifier.", "classifier.")) and name.count(".") > 1]
    more += [name for name in source.names() if name.startswith("pre_classifier.")]
    if more or ("classifier" in present and "pooler" not in present):
        what = f"has {more[0]!r}" if more else "has no pooler"
        raise ValueError(f"its classifier {what}: it must be one layer on BERT's pooler, which has a tanh; {ENCODER_ALONE}")


def _classes(source, task):
    """{"classes": number} of a classifier.

    Raises:
      ValueError: a classifier that is not one layer, or of another number of classes than the config has.
    """
    if task != "classification":
        return {}
    shape = source.shape("classifier.weight")
    labels = source.config.get("id2label")
    if len(shape) != 2:
        raise ValueError(f"its tensor 'classifier.weight' has the shape {list(shape)}, which must have two axes")
    if isinstance(labels, dict) and len(labels) != shape[0]:
        raise ValueError(
            f"config.json has id2label of {len(labels)} classes, and 'classifier.weight' has the shape {list(shape)}"
        )
    if source.config.get("problem_type") == "regression" and shape[0] != 1:
        raise ValueError(
            f"config.json has problem_type='regression', and 'classifier.weight' has {shape[0]} outputs instead of 1"
        )
    return {"classes": shape[0]}


def _check_shapes(source, family, names, settings):
    """Refuses tensors that are missing, or of other sizes than the config has."""
    for name in names:
        expected = tuple(settings.get(axis, axis) for axis in name.shape)
        found = source.shape(name.theirs)
        if found != expected:
            axes = [axis for axis in dict.fromkeys(name.shape) if axis in settings and axis != "classes"]
            told = ", ".join(f"{their_name(axis, family)}={settings[axis]}" for axis in axes)
            where = (
                f"config.json has {told}, which needs" if source.config and told else f"{told} needs" if told else "it must be"
            )
            raise ValueError(f"its tensor {name.theirs!r} has the shape {list(found)}, and {where} {list(expected)}")


BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def _drop_copies(source, family, weights):
    """Drops what a file may have twice, after a check that it says the same."""
    for name in BUFFERS:
        if name in source:
            value = source.take(name)
            expected = np.arange(value.size) if name.endswith("position_ids") else np.zeros(value.size)
            if not np.array_equal(value.reshape(-1), expected):
                raise source.refusal(
                    f"its tensor {name!r} is not a count from 0 on, and positions in another order are not supported"
                )
            source.drop(name, "numbers that follow from the shape")
    table, bias = TIED[family]
    for name, ours, what in (
        (table, "embedding/word_embedding", "the word embedding"),
        (bias, "mlm_logits/bias", "the other bias"),
    ):
        if name in source and ours in weights and "mlm_logits/bias" in weights:
            if not np.array_equal(source.take(name, weights[ours].shape), weights[ours]):
                raise source.refusal(f"its tensor {name!r} is not equal to {what}, to which it must be tied")
            source.drop(name, f"equal to {what}")
        elif name in source:
            source.drop(name, "part of a head that the model does not have")


def _cut_words(source, settings, weights, words, rows):
    """Leaves out rows of the word embedding behind the vocabulary, which only round their number up; returns the new rows."""
    have = settings["vocab_size"]
    if have == words:
        return rows
    if not words < have < words + PADDED_TO:
        raise source.refusal(
            f"the vocabulary has {words} tokens, and the word embedding {have} rows, which must be as many or up to "
            f"{PADDED_TO - 1} more, to round their number up"
        )
    settings["vocab_size"] = words
    for name in ("embedding/word_embedding", "mlm_logits/bias"):
        if name in weights:
            weights[name] = weights[name][:words]
    reason = f"the first {words} of {have} rows; the vocabulary has no tokens for the others"
    return [row._replace(reason=reason) if row.weight.endswith(WORDS) else row for row in rows]


def _named(source, error):
    """A ValueError that names the source, as the source's own do."""
    text = str(error)
    return error if " is not allowed: " in text and repr(source.given) in text else source.refusal(text)
