"""TensorFlow Addons, on whose optimizers ours are built. The only file that imports it."""

from official.cli import quiet

with quiet.addons_import():
    import tensorflow_addons as tfa

__all__ = ["tfa"]
