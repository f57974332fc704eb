"""SavedModels of trained models."""

import contextlib
import io
import json
import shutil

import tensorflow as tf

CONFIG_FILE = "assets.extra/config.json"  # inside a SavedModel; TensorFlow leaves this folder to others


def export_saved_model(model, directory, config=None):
    """Writes an inference-only SavedModel with a dynamic batch size and the signature `serving_default` (Keras's `serve`).

    Loading it needs TensorFlow alone. It appears whole or not at all.

    Args:
      model: a built Keras model.
      directory: a pathlib.Path; replaced if it exists.
      config: a plain dict, kept in CONFIG_FILE: how to build the model and find its data again; None for nothing.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name=model.input_names[0])]
    archive.add_endpoint("serve", lambda x: model(x, training=False), signature)
    with contextlib.redirect_stdout(io.StringIO()):  # a page of captured resources
        archive.write_out(str(partial))
    if config is not None:
        (partial / CONFIG_FILE).parent.mkdir()
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
