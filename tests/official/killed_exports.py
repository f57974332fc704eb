"""What is looked at after a process that exports a model was killed (tests.official.kills).

The process that kills imports TensorFlow and does nothing with it, so that the processes that it forks can.
"""

import shutil
import struct

import tensorflow as tf

from official.files.layout import FACTS_FILE
from official.serving.saved_models import export_saved_model
from tests.official.kills import in_another_process

SIZE = 50_000


def exporting(folder):
    """A model in place of another: "old" or "new", by the values of its weights, with all the files that it has."""
    directory, first = folder / "saved_model", folder.with_name("first")
    in_another_process(lambda: export(first, 1.0))
    files = list_files(first)

    def look():
        assert list_files(directory) == files
        assert (directory / "saved_model.pb").stat().st_size > 0
        assert (directory / FACTS_FILE).read_text().endswith("}\n")
        values = (directory / "variables" / "variables.data-00000-of-00001").read_bytes()
        kept = [name for name, value in (("old", 1.0), ("new", 2.0)) if struct.pack("<f", value) * SIZE in values]
        assert len(kept) == 1
        return kept[0]

    return lambda: shutil.copytree(first, directory), lambda: export(directory, 2.0), look


def export(directory, value):
    """Exports a layer whose kernel has that value everywhere."""
    inputs = tf.keras.Input([SIZE], name="inputs")
    outputs = tf.keras.layers.Dense(1, kernel_initializer=tf.keras.initializers.Constant(value))(inputs)
    export_saved_model(tf.keras.Model(inputs, outputs), directory)


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
