"""Loading of exported models, by TensorFlow alone."""

import tensorflow as tf

from official.cli import quiet
from official.weights import local_path


def load_exported(handle):
    """The SavedModel of a path or handle; with TensorFlow Text's operations where it needs them.

    Raises:
      ValueError: a handle that leads to no model.
      OSError: no model there.
    """
    folder = str(local_path(handle, "--handle"))
    try:
        return tf.saved_model.load(folder)
    except (tf.errors.NotFoundError, FileNotFoundError, RuntimeError) as error:
        if "not registered" not in str(error):
            raise
    with quiet.hub_import():
        import tensorflow_text  # noqa: F401  (it takes seconds, and only models of text need it)
    return tf.saved_model.load(folder)
