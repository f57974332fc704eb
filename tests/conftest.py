"""What all tests share: two logical CPU devices, for strategies with two replicas, and seeds."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
# Tests run in as many processes as there are cores, so each has one thread, and so have the processes that it starts.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest
import tensorflow as tf

pytest_plugins = ["tests.time_limit"]

# transformers would take the tf_keras that TensorFlow Hub brings along, whose classes then go by the names of Keras's own.
sys.modules["tf_keras"] = None

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same seeds, float32 policy and an empty Keras session."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy("float32")
