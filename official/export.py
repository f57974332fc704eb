"""SavedModels of trained models."""

import contextlib
import io
import shutil

import tensorflow as tf


def export_saved_model(model, directory):
    """Writes an inference-only SavedModel with a dynamic batch size and the signature `serving_default` (Keras's `serve`).

    Loading it needs TensorFlow alone. It appears whole or not at all.

    Args:
      model: a built Keras model.
      directory: a pathlib.Path; replaced if it exists.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name=model.input_names[0])]
    archive.add_endpoint("serve", lambda x: model(x, training=False), signature)
    with contextlib.redirect_stdout(io.StringIO()):  # a page of captured resources
        archive.write_out(str(partial))
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
