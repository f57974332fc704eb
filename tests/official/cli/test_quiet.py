"""Known noise is held back, everything else is passed on, and standard error is whole afterwards."""

import os
import subprocess
import sys
import warnings

import pytest

from official.cli import quiet
from tests.official.tiny import ROOT

NOISE = [
    "2026-01-01 00:00:00.1: I tensorflow/core/util/port.cc:113] oneDNN custom operations are on. You may see slightly ...",
    "E0000 00:00:1.2    8320 util.cc:131] oneDNN supports DT_INT32 only on platforms with AVX-512. Falling back to the ...",
    "I external/local_tsl/tsl/cuda/cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.",
    "E0000 00:00:1.2    8320 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: ...: UNKNOWN ERROR (303)",
    "E external/local_xla/xla/stream_executor/cuda/cuda_dnn.cc:9261] Unable to register cuDNN factory: Attempting to ...",
    "E external/local_xla/xla/stream_executor/cuda/cuda_fft.cc:607] Unable to register cuFFT factory: Attempting to ...",
    "E external/local_xla/xla/stream_executor/cuda/cuda_blas.cc:1515] Unable to register cuBLAS factory: Attempting ...",
    "I tensorflow/core/platform/cpu_feature_guard.cc:182] This TensorFlow binary is optimized to use available CPU ...",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate flags.",
    "W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning: Could not find TensorRT",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1.2    8320 device_compiler.h:186] Compiled cluster using XLA!  This line is logged at most once ...",
    "E external/local_xla/xla/stream_executor/stream_executor_internal.h:177] SetPriority unimplemented for this stream.",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")


def test_noise_is_held_back(capfd):
    """Each known line on its own, and lines between them that are no noise are passed on in their order."""
    with quiet.startup():
        for i, line in enumerate(NOISE):
            os.write(2, f"{line}\nline {i} of mine\n".encode())
    assert capfd.readouterr().err.splitlines() == [f"line {i} of mine" for i in range(len(NOISE))]


def test_the_first_compilation_is_quiet():
    """In a new process, where it is the first: it writes nothing, and neither do the next ones, also several at one time."""
    code = (
        "from official.cli import quiet\nwith quiet.startup():\n    import tensorflow as tf\nquiet.first_compilation()\n"
        "print(float(tf.function(tf.square, jit_compile=True)(tf.constant(3.0))))\n"
        "parts = [tf.function(lambda x, i=i: tf.matmul(x + i, x), jit_compile=True) for i in range(4)]\n"
        "several = tf.function(lambda x: [part(x) for part in parts])\n"
        "for _ in range(10): several(tf.zeros([300, 300]))\n"
        "tf.function(tf.transpose)(tf.zeros([2, 3], tf.int32))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("9.0\n", "")


def test_a_broken_driver_is_reported(capfd):
    """CUDA's error 303 says that there is none; the others are the user's to know."""
    with quiet.startup():
        os.write(2, b"cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (100)\n")
    assert "UNKNOWN ERROR (100)" in capfd.readouterr().err


def test_other_errors_are_passed_on(capfd):
    """Also from Python, also without a line end, also bytes that are no text."""
    with quiet.startup():
        print("from Python", file=sys.__stderr__, flush=True)
        os.write(2, b"a bad byte \xff\n")
        os.write(2, b"the last line")
    error = capfd.readouterr().err
    assert "a bad byte" in error
    assert error.endswith("the last line")
    assert "from Python" in error


def test_lines_survive_an_error(capfd):
    """Where the import fails, what it said is the clue."""
    with pytest.raises(ImportError), quiet.startup():
        os.write(2, b"the reason\n")
        raise ImportError
    assert capfd.readouterr().err == "the reason\n"


def test_afterwards_nothing_is_held_back(capfd):
    """Standard error is the terminal again: even a line that was noise before is none now."""
    with quiet.startup():
        pass
    os.write(2, NOISE[0].encode() + b"\n")
    assert capfd.readouterr().err == NOISE[0] + "\n"


def test_no_descriptor_is_left_open():
    """A hundred start-ups use no more descriptors than one."""
    with quiet.startup():
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with quiet.startup():
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_log_level_of_the_user_stays(monkeypatch):
    """INFO lines are off from here on, unless the environment has an opinion."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with quiet.startup():
        pass
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    with quiet.startup():
        pass
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == quiet._log_level()


@pytest.mark.parametrize("version, level", [("2.15.1", "1"), ("2.16.0", "2"), ("2.21.0", "2")])
def test_log_level_of_each_version(monkeypatch, version, level):
    """Up to TensorFlow 2.15 its warnings stay; later ones warn of each invalid input (official.predict's is tested)."""
    monkeypatch.setattr(quiet.metadata, "version", lambda package: version)
    assert quiet._log_level() == level


def test_the_warning_of_hub_is_dropped():
    """Whenever it is imported after start-up; other warnings stay."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet.startup():
            pass
        warnings.warn("pkg_resources is deprecated as an API. See https://setuptools.pypa.io/...", stacklevel=1)
        warnings.warn("pkg_resources is something else", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["pkg_resources is something else"]


def test_only_the_warning_of_addons_is_dropped():
    """Its notice of the end goes; any other warning of the import stays."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet.addons_import():
            warnings.warn("\n\nTensorFlow Addons (TFA) has ended development and introduction of new features.\n", stacklevel=1)
            warnings.warn("Tensorflow Addons supports using Python ops for all Tensorflow versions above ...", stacklevel=1)
    assert [str(warning.message)[:30] for warning in caught] == ["Tensorflow Addons supports usi"]


def test_a_conversion_is_quiet(capfd):
    """What it wrote is dropped where it came to an end, also that of a refusal; where it broke, it is told."""
    with quiet.conversion():
        os.write(2, b"628 operations\n")
    with pytest.raises(ValueError, match="no such operator"), quiet.conversion():
        os.write(2, b"629 operations\n")
        raise ValueError("no such operator")
    assert capfd.readouterr().err == ""
    with pytest.raises(RuntimeError), quiet.conversion():
        os.write(2, b"630 operations\n")
        raise RuntimeError
    assert capfd.readouterr().err == "630 operations\n"
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"
