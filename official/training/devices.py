"""Distribution strategy and precision of a run."""

import resource
import statistics
import sys
import time

import tensorflow as tf

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu")
COLLECTIVE_KEYS = 1000  # groups of devices of one MirroredStrategy, far more than there are


def create_strategy(name, tpu=""):
    """The tf.distribute.Strategy of a run. Create it before anything else of TensorFlow is used.

    Args:
      name: "default" (one device), "mirrored" (all GPUs of this machine, or all its logical CPU devices if it has none),
        "multi_worker" (the machines in the environment variable TF_CONFIG, which also says which of them this is) or "tpu".
      tpu: name or address of the TPU for TPUClusterResolver; "local" on a TPU VM, "" for the one that the environment names.

    Raises:
      ValueError: an unknown name, or "tpu" without a TPU.
    """
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        # Every strategy counts its collective operations from here on. Two that counted from the same number would mix theirs up,
        # which TensorFlow's own tests avoid in this way, too.
        tf.distribute.MirroredStrategy._collective_key_base += COLLECTIVE_KEYS
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy(tpu)
    raise ValueError(f"train.strategy={name!r} is not allowed: it must be one of {', '.join(STRATEGIES)}")


def _tpu_strategy(tpu):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    # Raised for no name and no environment, for an unknown name, and for a machine without a TPU.
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"train.strategy='tpu' found no TPU (train.tpu={tpu!r}): set train.tpu to its name, or to 'local' on a TPU VM"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def is_chief(strategy):
    """Whether this process writes the run's files: the only one, or the first of several workers."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type in (None, first) and not resolver.task_id


def peak_memory():
    """The largest memory so far, in bytes: of the first GPU, or of this process where there is no GPU."""
    if tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


# Speedup of matrix products from which mixed precision makes a whole step faster, which has casts besides.
NEEDED_SPEEDUP = 1.25
ROUNDS = 5
# [m, k] times [k, n], of which one is the fastest.
CPU_PRODUCTS = ((2048, 1024, 2048), (2048, 2048, 2048), (3136, 768, 4096))
GPU_PRODUCTS = ((4096, 4096, 4096), (8192, 8192, 8192), (12544, 768, 4096))


def fastest_precision():
    """The faster of "mixed_bfloat16" and "float32" on the first device, judged by large matrix products.

    Times both in turns, for about a second on CPU. Processors without bfloat16 instructions emulate it, which is slower.
    """
    speedup = statistics.median(_seconds(tf.float32) / _seconds(tf.bfloat16) for _ in range(ROUNDS))
    return "mixed_bfloat16" if speedup >= NEEDED_SPEEDUP else "float32"


def peak_flops(precision):
    """Operations a second of the fastest large matrix products on the first device; takes some seconds on CPU.

    Args:
      precision: "float32", "mixed_bfloat16" or "float64", the type of the products.
    """
    dtype = {"mixed_bfloat16": tf.bfloat16, "float64": tf.float64}.get(precision, tf.float32)
    shapes = GPU_PRODUCTS if tf.config.list_logical_devices("GPU") else CPU_PRODUCTS
    return max(2 * m * k * n / min(_seconds(dtype, m, k, n) for _ in range(ROUNDS)) for m, k, n in shapes)


def _seconds(dtype, m=2048, k=1024, n=2048):
    """Seconds of one product of [m, k] and [k, n]."""
    a, b = tf.ones([m, k], dtype), tf.ones([k, n], dtype)
    tf.matmul(a, b)[0, 0].numpy()  # the first call prepares the operation
    start = time.perf_counter()
    tf.matmul(a, b)[0, 0].numpy()  # one number: more would be copied from the device
    return time.perf_counter() - start
