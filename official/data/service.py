"""Training batches that other processes make: tf.data services of one server each, which take turns.

Of N servers, number k makes the batches k, k + N, k + 2N, ... of a run, counted from the step at which its session begins. So the
batches are those that the run would make itself, in their order, each once. A service of TensorFlow's that shares its work among
workers as they come would give up the order, and with it that a resumed run ends like one that never stopped.
"""

import contextlib
import functools
import socket
import threading

import tensorflow as tf

from official.data.bad_examples import op_message
from official.data.batches import part_of_batches

SECONDS = 10  # for a connection, and between two looks at a server
PATIENCE = 3


class ServiceError(OSError):
    """The servers of `train.data_service` cannot make the batches."""


def serve(host, port):
    """A server at PORT and PORT + 1. It works until the returned objects are gone.

    Args:
      host: the name under which runs reach this machine.
      port: an int.

    Raises:
      OSError: a port is in use, or not allowed.
    """
    service = tf.data.experimental.service
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
        worker = service.WorkerServer(
            service.WorkerConfig(dispatcher_address=f"localhost:{port}", worker_address=f"{host}:{port + 1}", port=port + 1)
        )
    except (RuntimeError, tf.errors.OpError) as error:
        raise OSError(f"no server at the ports {port} and {port + 1}, which another process may use: {error}") from error
    return dispatcher, worker


def check_servers(addresses):
    """Raises ServiceError if one of the servers, "grpc://HOST:PORT", cannot be reached: TensorFlow would wait for an hour."""
    for address in addresses:
        host, port = address.removeprefix("grpc://").split(":")
        try:
            with socket.create_connection((host, int(port)), SECONDS):
                pass
        except OSError as error:
            how = f"start one there with python -m official.data_service --port={port}"
            raise ServiceError(f"train.data_service: {address} cannot be reached ({error}); {how}") from error


def batches_of_servers(make, addresses, index=0, count=1):
    """The training batches of a session, made by servers.

    Args:
      make: function that returns a tf.data.Dataset of official.data.batches.train_batches.
      addresses: "grpc://HOST:PORT" of each server.
      index, count: as of `part_of_batches`.

    Returns:
      tf.data.Dataset of the same batches.

    Raises:
      ServiceError: the batches are not made by `train_batches`.
    """
    of_servers = []
    for number, address in enumerate(addresses):
        with part_of_batches(index, count, number, len(addresses), elsewhere=True) as part:
            batches = make()
        if not part.is_made:
            raise ServiceError("train.data_service is not allowed: it must be '', since the task makes its batches by itself")
        options = tf.data.Options()
        options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
        served = tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.OFF, address)
        batches = batches.enumerate().with_options(options).apply(served)
        of_servers.append(batches.enumerate().map(functools.partial(_in_order, address)))
    turns = tf.data.Dataset.range(len(addresses)).repeat()
    return tf.data.Dataset.choose_from_datasets(of_servers, turns).prefetch(tf.data.AUTOTUNE)


def _in_order(address, expected, numbered):
    """A server's batch without its number. One that was lost on the way, as of a server that began anew, would go unnoticed."""
    number, batch = numbered
    lost = tf.debugging.assert_equal(number, expected, f"a batch of {address} was lost")
    with tf.control_dependencies([lost] if lost is not None else []):
        return tf.nest.map_structure(tf.identity, batch)


@contextlib.contextmanager
def served_by(addresses, give_up):
    """A context in which the errors of TensorFlow that come from servers become a ServiceError.

    TensorFlow waits for an hour for a server that is gone, while Python hears no signals. So a thread looks after them.

    Args:
      addresses: "grpc://HOST:PORT" of each.
      give_up: function of a sentence that ends the process: a server has not been reached three times in a row.
    """
    done = threading.Event()
    threading.Thread(target=_look_after, args=(addresses, give_up, done), daemon=True).start()
    try:
        yield
    except tf.errors.OpError as error:
        raise ServiceError(f"train.data_service={','.join(addresses)}: {op_message(error)}") from error
    finally:
        done.set()


def _look_after(addresses, give_up, done):
    failures = 0
    while not done.wait(SECONDS):
        try:
            check_servers(addresses)
            failures = 0
        except ServiceError as error:
            failures += 1
            if failures == PATIENCE and not done.is_set():
                give_up(str(error))
