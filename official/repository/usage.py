"""The Python script on a model card that uses the published model, made from the signatures of its SavedModel."""

import re

# Expressions of inputs by name, for signatures that take strings; those of other names are TEXT.
STRINGS = {"image_bytes": 'open("photo.jpg", "rb").read()', "question": '"Who was it?"', "context": '"It was a bear."'}
TEXT = '"a short text"'
TEXTS = {"words": '"a [MASK] text"', "embeddings": '"a short text", "a brief note"'}  # by an output of the signature
COSINE = ['first, second = answers["embeddings"].numpy()', 'print("cosine:", first @ second)']
LENGTH = 8  # of axes that may have any length, the batch aside
ZOOS = ("vision", "bert")  # packages with a load_model, as their tasks are named in configs


def usage(handle, facts):
    """The script.

    Args:
      handle: of the model, a string.
      facts: an official.repository.card.Facts.
    """
    signatures = _signatures(facts.model)
    layer = _layer(signatures)
    return "\n".join(
        [
            "import tensorflow as tf",
            "import tensorflow_hub",
            "",
            "import official.hub  # so that tensorflow_hub finds handles, too",
            "",
            f"handle = {_quoted(handle)}",
            "model = official.hub.load(handle)",
            *_answers(signatures),
            *layer,
            *(_settings(facts.recipe) if layer else []),
        ]
    )


def _signatures(model):
    """{name: ({input: spec}, {output: spec})}, the default one first; empty where FACTS_FILE has none or others."""
    found = model.get("signatures")
    try:
        return {name: (dict(entry["inputs"]), dict(entry["outputs"])) for name, entry in found.items()}
    except (AttributeError, TypeError, KeyError, ValueError):
        return {}


def _answers(signatures):
    """Lines that print what the default signature answers."""
    for name, (inputs, outputs) in signatures.items():
        text = next((TEXTS[output] for output in outputs if output in TEXTS), TEXT)
        values = {key: _value(spec, STRINGS.get(key, text)) for key, spec in inputs.items()}
        if not all(values.values()):
            break
        arguments = ", ".join(f"{key}={value}" for key, value in values.items())
        if not all(key.isidentifier() for key in values):
            arguments = f"**{_dict(values)}"
        return [
            f"answers = model.signatures[{_quoted(name)}]({arguments})",
            "print({name: value.numpy() for name, value in answers.items()})",
            *(COSINE if "embeddings" in outputs else []),
        ]
    return ["print(model.signatures)"]


def _layer(signatures):
    """Lines that use the model as a layer, with the inputs of its signature of numbers; [] for a model without one."""
    for inputs, _ in signatures.values():
        values = {key: _value(spec) for key, spec in inputs.items()}
        if values and all(values.values()):
            given = next(iter(values.values())) if len(values) == 1 else _dict(values)
            return [
                "",
                "# As a layer of a Keras model, trained with it:",
                "layer = tensorflow_hub.KerasLayer(handle, trainable=True)",
                f"print(layer({given}))",
            ]
    return []


def _settings(recipe):
    """Lines that build the Keras model with its settings; [] for a model that is not of a zoo."""
    package = str(recipe.get("task", "")).partition(".")[0]
    if package not in ZOOS:
        return []
    return [
        "",
        "# As a Keras model of its own, with its settings and weights; settings can be changed, such as classes=5:",
        f"import {package}",
        "",
        f"{package}.load_model(handle).summary()",
    ]


def _value(spec, string=None):
    """An expression of a batch of one example, for a spec such as "int32 [?, 8]"; None for one that cannot be made."""
    match = re.fullmatch(r"([a-z]+\d*) \[([\d?, ]*)\]", spec if isinstance(spec, str) else "")
    if not match:
        return None
    dtype, sizes = match[1], [size for size in match[2].split(", ") if size]
    if dtype == "string":
        return f"tf.constant([{string}])" if string and sizes == ["?"] else None
    shape = [size if size != "?" else str(LENGTH if axis else 1) for axis, size in enumerate(sizes)]
    return f"tf.ones([{', '.join(shape)}], tf.{dtype})"


def _dict(values):
    return "{" + ", ".join(f"{_quoted(key)}: {value}" for key, value in values.items()) + "}"


def _quoted(text):
    """A string literal in double quotes where that needs no escapes."""
    return f'"{text}"' if re.fullmatch(r"[\w/.-]+", text) else repr(text)
