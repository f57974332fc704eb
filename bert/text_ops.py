"""TensorFlow Text, imported when the first tokenizer is made: that takes seconds, and who only wants a model does not need it."""

from official.cli import quiet


def text_ops():
    """The package tensorflow_text."""
    with quiet.hub_import():
        import tensorflow_text
    return tensorflow_text
