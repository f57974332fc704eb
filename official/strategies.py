"""Where a run computes, by one setting."""

import tensorflow as tf

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu")


def create_strategy(name, tpu=""):
    """The tf.distribute.Strategy of a run. Create it before anything else of TensorFlow is used.

    Args:
      name: "default" (one device), "mirrored" (all GPUs of this machine, or all its logical CPU devices where it has none),
        "multi_worker" (the machines that the environment variable TF_CONFIG lists, this one's place in it included) or "tpu".
      tpu: name or address of the TPU for TPUClusterResolver; "local" on a TPU VM, "" for what the environment names.

    Raises:
      ValueError: an unknown name, or no TPU where one is asked for.
    """
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
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
    # No name and no environment, a name that leads nowhere, and a machine without a TPU, in this order.
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
