"""Distribution strategy and precision of a run, and what its workers say to each other."""

import contextlib
import os
import queue
import re
import resource
import statistics
import sys
import threading
import time
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.eager import context

from official.files.checked_json import parse_json, shown

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu")
# What the environment variable must have, as of official.files.checked_json.check_keys.
TF_CONFIG = {
    "cluster": dict,
    "cluster.chief?": list,
    "cluster.worker?": list,
    "task": dict,
    "task.type": str,
    "task.index": (int, str),
}
EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
COLLECTIVE_KEYS = 1000  # groups of devices of one MirroredStrategy, far more than there are


def create_strategy(name, tpu=""):
    """The tf.distribute.Strategy of a run. Create it before anything else of TensorFlow is used.

    Args:
      name: "default" (one device), "mirrored" (all GPUs of this machine, or all its logical CPU devices if it has none),
        "multi_worker" (the machines in the environment variable TF_CONFIG, which also says which of them this is) or "tpu".
      tpu: name or address of the TPU for TPUClusterResolver; "local" on a TPU VM, "" for the one that the environment names.

    Raises:
      ValueError: an unknown name, "tpu" without a TPU, or a TF_CONFIG that is not allowed.
      OSError: the address of this worker in TF_CONFIG is in use.
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
        return _multi_worker_strategy(workers_of(name))
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


def _multi_worker_strategy(workers):
    if len(workers.addresses) > 1:
        others = ", ".join(address for i, address in enumerate(workers.addresses) if i != workers.index)
        print(f"This is worker {workers.index}, {workers.address}. It waits for the others: {others}", flush=True)
        # An empty service: the one that TensorFlow would choose waits in C++ with Python's lock held, for up to an hour, so that
        # no signal is heard, and takes SIGTERM for itself. Without it the strategy looks after the health of the workers.
        context.context().configure_coordination_service("")
    try:
        return hearing_signals(tf.distribute.MultiWorkerMirroredStrategy)
    except tf.errors.UnknownError as error:
        if "start gRPC server" not in error.message:
            raise
        refused = f"this worker cannot listen at {workers.address}, its address in TF_CONFIG: another process may do so"
        raise OSError(refused) from error


class Workers(NamedTuple):
    """The workers of a run.

    Attributes:
      index: number of this process among them. Number 0, the chief, writes the files of the run.
      addresses: "HOST:PORT" of each.
    """

    index: int = 0
    addresses: tuple = ("",)

    @property
    def address(self):
        """That of this process."""
        return self.addresses[self.index]


def workers_of(strategy):
    """The Workers of a run, for "multi_worker" those in the environment variable TF_CONFIG; without that there is one.

    Raises:
      ValueError: TF_CONFIG does not describe workers as TensorFlow expects; the message names the part that is wrong.
    """
    text = os.environ.get("TF_CONFIG") if strategy == "multi_worker" else None
    if not text:
        return Workers()
    where = f"TF_CONFIG={' '.join(text.split()):.200}"
    try:
        content = parse_json(text, where, keys=TF_CONFIG)
        jobs = {job: content["cluster"].get(job) or () for job in ("chief", "worker")}
        places = {(job, str(index)): address for job in jobs for index, address in enumerate(jobs[job])}
        for address in places.values():
            if not _is_address(address):
                raise ValueError(f"{where} is not allowed: {shown(address)} must be HOST:PORT, with a port from 1 to 65535")
        task = content["task"]
        place = task["type"], str(task["index"])
        if place not in places:
            there = " or ".join(f"{job} 0 to {len(jobs[job]) - 1}" for job in jobs if jobs[job])
            allowed = there or "in the cluster, which has no worker"
            raise ValueError(f"{where} is not allowed: its task is {' '.join(place):.60}, and must be {allowed}")
    except ValueError as error:
        raise ValueError(f"{error}; an example is {EXAMPLE}") from error
    return Workers(list(places).index(place), tuple(places.values()))


def _is_address(value):
    found = re.fullmatch(r"\S+:([0-9]{1,5})", value) if isinstance(value, str) else None
    return found is not None and 0 < int(found[1]) < 2**16


class WorkerLost(Exception):
    """Another worker ended, or cannot be reached. This process cannot go on, but can begin anew with all of them."""


@contextlib.contextmanager
def among(workers):
    """A context in which the errors that TensorFlow raises where another of the workers is lost become a WorkerLost."""
    try:
        yield
    except tf.errors.OpError as error:
        is_lost = isinstance(error, tf.errors.UnavailableError) or "Collective" in error.message
        if len(workers.addresses) == 1 or not is_lost:
            raise
        reason = re.search("aborted by: (.*)", error.message)
        raise WorkerLost(reason[1] if reason else error.message.splitlines()[0]) from error


class Agreement:
    """What all workers of a run agree on. Every worker must call the methods in the same order.

    Args:
      strategy: a tf.distribute.Strategy.
      workers: a Workers.
    """

    SIGNALS = 65  # more than there are

    def __init__(self, strategy, workers):
        self._strategy = strategy
        self._workers = workers
        self._sum = tf.function(self._sum_over_replicas, autograph=False)

    @property
    def is_needed(self):
        return len(self._workers.addresses) > 1

    def of_chief(self, number):
        """The chief's number, an int; also waits until all workers are here, while signals are heard."""
        if not self.is_needed:
            return number
        mine = [0.0 if self._workers.index else float(number)]
        share = self._strategy.num_replicas_in_sync // len(self._workers.addresses)  # each replica of the chief counts
        return round(hearing_signals(lambda: self._total(mine))[0] / share)

    def signal(self, signum):
        """A signal that one of the workers got; 0 if none did.

        Args:
          signum: that this worker got, or 0.
        """
        if not self.is_needed:
            return signum
        total = self._total([float(i == signum) for i in range(1, self.SIGNALS)])
        return max((i + 1 for i, count in enumerate(total) if count), default=0)

    def _total(self, numbers):
        totals = self._sum(tf.constant(numbers, tf.float64))
        return self._strategy.experimental_local_results(totals)[0].numpy().tolist()

    def _sum_over_replicas(self, numbers):
        def total(values):
            values = tf.identity(values)  # on the replica's device, which an argument of a graph does not have
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)

        return self._strategy.run(total, (numbers,))


def hearing_signals(function):
    """The result of a function that may wait for other workers in C++, where Python hears no signals: a thread calls it."""
    results = queue.SimpleQueue()

    def call():
        try:
            results.put((function(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=call, daemon=True).start()
    result, error = results.get()
    if error is not None:
        raise error
    return result


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
