"""Batches made by servers: those of the run itself, in their order, or one sentence."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official import data_service, train
from official.data import service
from official.data.batches import train_batches
from official.data.service import ServiceError, batches_of_servers, check_servers, serve, served_by
from official.data.sources import IndexedSource
from official.files.tables import read_table
from tests.official.tiny import ROOT, environment, tiny_config, without_export


def free_port():
    """One that is free, and so is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def addresses():
    """Two servers in this process."""
    ports = [free_port() for _ in range(2)]
    servers = [serve("localhost", port) for port in ports]
    yield [f"grpc://localhost:{port}" for port in ports]
    del servers


@pytest.fixture(scope="module")
def make():
    """A function of the first step to batches of dicts, which vary in length and need a table to be made."""
    words = tf.constant(["a", "b", "c"])
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words[:2], tf.constant([1, 2])), 0)
    source = IndexedSource(22, lambda index: (10 * index, words[index % 3]), "number {}".format)

    def batches(start):
        def per_batch(epoch, index, number, word):
            ragged = tf.RaggedTensor.from_row_lengths(number, tf.ones_like(number)).to_tensor()
            return {"number": ragged, "word": table.lookup(word)}, epoch

        return train_batches(source, 7, start, 4, per_batch)

    return batches


def content(batches, count):
    return [tf.nest.map_structure(lambda x: x.tolist(), batch) for batch in batches.take(count).as_numpy_iterator()]


@pytest.mark.parametrize("start", [pytest.param(0, marks=pytest.mark.further), 5])
def test_the_same_batches(addresses, make, start):
    """Two servers take turns; of one worker, and of two, each with half of a batch. 7 batches are more than an epoch."""
    whole = content(make(start), 7)
    batches = batches_of_servers(lambda: make(start), addresses)
    assert batches.element_spec == make(start).element_spec
    assert content(batches, 7) == whole
    halves = [content(batches_of_servers(lambda: make(start), addresses, index, 2), 7) for index in range(2)]
    for (inputs, epochs), (first, second) in zip(whole, zip(*halves, strict=True), strict=True):
        assert first[0]["number"] + second[0]["number"] == inputs["number"]
        assert first[1] + second[1] == epochs


def test_batches_of_the_task_itself(addresses):
    """What does not come from train_batches cannot be shared among servers."""
    with pytest.raises(ServiceError, match="^train.data_service is not allowed: it must be ''"):
        batches_of_servers(lambda: tf.data.Dataset.range(3).repeat(), addresses)


def test_a_lost_batch():
    """The numbers of a server's batches have no gap."""
    numbered = tf.data.Dataset.from_tensor_slices([0, 1, 3]).map(lambda number: (tf.cast(number, tf.int64), number))
    batches = numbered.enumerate().map(lambda expected, pair: service._in_order("grpc://a:1", expected, pair))
    with pytest.raises(tf.errors.InvalidArgumentError, match="a batch of grpc://a:1 was lost"):
        list(batches)


def test_servers_that_are_not_there(tmp_path):
    """Refused before anything is built, and not waited for."""
    port = free_port()
    with pytest.raises(ServiceError, match=f"grpc://localhost:{port} cannot be reached .*; start one there with python -m"):
        check_servers([f"grpc://localhost:{port}"])
    with pytest.raises(ServiceError, match="cannot be reached"):
        train.run(tiny_config(data_service=f"grpc://localhost:{port}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_server_that_goes(monkeypatch):
    """After three looks in vain the process is ended, since TensorFlow would wait; errors of servers are sentences."""
    monkeypatch.setattr(service, "SECONDS", 0.01)
    found = []
    address = f"grpc://localhost:{free_port()}"
    with pytest.raises(ServiceError, match=f"^train.data_service={address}: Unknown client$"), served_by([address], found.append):
        while not found:
            pass
        raise tf.errors.NotFoundError(None, None, "Unknown client\nmore")
    assert found[0].startswith(f"train.data_service: {address} cannot be reached")


def test_a_port_in_use():
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        with pytest.raises(OSError, match=f"^no server at the ports {port} and {port + 1}, which"):
            serve("localhost", port)


@pytest.mark.parametrize("port", [0, -1, 65535, 70000])
def test_a_port_that_is_none(monkeypatch, port):
    """The server takes the next one, too."""
    monkeypatch.setattr(sys, "argv", ["data_service", f"--port={port}"])
    with pytest.raises(SystemExit, match=f"^error: --port={port} is not allowed: it must be from 1 to 65534$"):
        data_service.main()


def test_skipped_examples_are_not_counted_elsewhere(tmp_path):
    config = tiny_config({"data.bad_examples": "skip"}, data_service="grpc://localhost:1")
    with pytest.raises(ValueError, match="^train.data_service='grpc://localhost:1' is not allowed: it must be '' with data.bad"):
        train.run(config, tmp_path / "run")


@pytest.mark.process
def test_a_run(tmp_path):
    """Weights and tables of a run with two servers, started by the command, are those of one without, bit for bit."""
    ports = [free_port() for _ in range(2)]
    command = [sys.executable, "-m", "official.data_service", "--host=localhost"]
    how = dict(cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    servers = [subprocess.Popen([*command, f"--port={port}"], **how) for port in ports]
    try:
        for port, server in zip(ports, servers, strict=True):
            assert f"--config.train.data_service=grpc://localhost:{port}" in server.stdout.readline()
        addresses = ",".join(f"grpc://localhost:{port}" for port in ports)
        runs = []
        for name, given in (("served", addresses), ("alone", "")):
            run = train.Run(tiny_config({"data.mixup": 0.2, "model.dropout": 0.1}, data_service=given), tmp_path / name)
            with without_export():
                run.train()
            rows = read_table(tmp_path / name / "metrics.csv")
            runs.append((run.model.get_weights(), [{**row, "images_per_second": ""} for row in rows]))
        for served, alone in zip(runs[0][0], runs[1][0], strict=True):
            np.testing.assert_array_equal(served, alone)
        assert runs[0][1] == runs[1][1]
        assert json.loads((tmp_path / "served" / "config.json").read_text())["train"]["data_service"] == addresses
        for server in servers:
            server.terminate()
        assert [server.wait(30) for server in servers] == [143, 143]
    finally:
        for server in servers:
            server.kill()
