"""TensorFlow Text, whose operations tokenize texts inside graphs. It is optional, and only text models import it."""

from official.cli import quiet


def text_ops():
    """Imports tensorflow_text, which takes seconds, without its warnings.

    Raises:
      ValueError: it is not installed; names the package.
    """
    import tensorflow as tf

    try:
        with quiet.hub_import():
            import tensorflow_text
    except ModuleNotFoundError as error:
        if error.name != "tensorflow_text":
            raise
        version = ".".join(tf.__version__.split(".")[:2])  # the two must match
        raise ValueError(
            f"text models need the package tensorflow-text, which is not installed: pip install 'tensorflow-text=={version}.*'"
        ) from error
    return tensorflow_text


def load_with_text_ops(load):
    """The result of a function that loads a SavedModel; where that fails for want of an operation, `text_ops` is imported first.

    Args:
      load: function without arguments.

    Raises:
      ValueError: as `text_ops`.
      Exception: what `load` raises for another reason.
    """
    import tensorflow as tf

    try:
        return load()
    except (tf.errors.NotFoundError, FileNotFoundError, RuntimeError) as error:
        if "not registered" not in str(error):
            raise
    text_ops()
    return load()
