"""What all tests share: two logical CPU devices, for strategies with two replicas, seeds, finished runs, and a wheel."""

import gc
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
# Tests run in as many processes as there are cores, so each operation has one thread, also in processes that tests start.
# Operations wait for each other, as for a data set's next batch: with one thread for all of them they would never finish.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")

import pytest
import tensorflow as tf

pytest_plugins = ["tests.time_limit"]

# TensorFlow from 2.16 on has imported tf_keras by now, its Keras 2. With 2.15, transformers would take the tf_keras that
# TensorFlow Hub brings along, a second Keras whose classes then go by the names of Keras's own.
sys.modules.setdefault("tf_keras", None)

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


# Making graphs makes many Python objects, and few are garbage: looking for it less often, and not among what TensorFlow's import
# leaves, saves about a twentieth of the time.
gc.freeze()
gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test or class marked further_cases, each test's first case stays without the marker `further`."""
    seen = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if test in seen and item.get_closest_marker("further_cases"):
            item.add_marker("further")
        seen.add(test)


def pytest_make_parametrize_id(val):
    """A long text is shown by its beginning: a test's name is part of the output."""
    return f"{val[:20]!a}..." if isinstance(val, (str, bytes)) and len(val) > 100 else None


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same seeds, float32 policy and an empty Keras session."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory, request):
    """shared_run(name, make): the folder of a run that whichever process of pytest comes first makes, by make(folder).

    Others look at it and copy it before they write.
    """
    from official.files.atomic import locked
    from tests.time_limit import uncounted

    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # of one of several processes, whose own folder is inside the common one
        folder = folder.parent

    def run(name, make):
        with locked(folder / f"{name}.lock"):
            if not (folder / name / "finished").exists():
                with uncounted():
                    make(folder / name / "workdir")
                (folder / name / "finished").touch()
        return folder / name / "workdir"

    return run


@pytest.fixture(scope="session")
def finished_run(shared_run):
    """The workdir of a run of the tiny recipe, with experts: checkpoints of steps 6 and 7, evaluated after steps 3, 6 and 7."""
    from official import train
    from tests.official.tiny import tiny_config

    return shared_run("finished_run", lambda workdir: train.run(tiny_config(checkpoint_every=2), workdir))


@pytest.fixture(scope="session")
def dense_run(shared_run):
    """The workdir of two steps of the tiny recipe without experts, each of them an epoch."""
    from official import train
    from tests.official.tiny import DENSE, tiny_config

    return shared_run("dense_run", lambda workdir: train.run(tiny_config(DENSE, steps=2, eval_every=1), workdir))


@pytest.fixture(scope="session")
def wheel(shared_run):
    """The path of the checkout's wheel. Tests that use it need the marker "process"."""
    from tests.installed import build_wheel

    (path,) = shared_run("wheel", build_wheel).glob("widenet-*.whl")
    return path


@pytest.fixture
def venv(tmp_path):
    """The folder of an environment that has all packages of the running one, but nothing of ours (tests.installed.install)."""
    from tests.installed import create_venv

    create_venv(tmp_path / "venv")
    return tmp_path / "venv"
