"""Keeps known start-up messages of TensorFlow and related libraries off the terminal, and nothing else.

On import, when it first looks for devices and when XLA first compiles, TensorFlow's C++ code writes lines about CUDA libraries,
oneDNN, CPU instructions and the like, which bypass Python's logging and are the same in every healthy run. They are dropped by
pattern; all other output to standard error is passed on.
"""

import concurrent.futures
import contextlib
import os
import re
import sys
import tempfile
import warnings
from importlib import metadata

NOISE = re.compile(
    r"""oneDNN\ custom\ operations\ are\ on
      | Could\ not\ find\ cuda\ drivers
      | failed\ call\ to\ cuInit:.*\(303\)  # 303: no driver is installed
      | Unable\ to\ register\ cu(DNN|FFT|BLAS)\ factory
      | oneDNN\ supports\ DT_INT32\ only\ on\ platforms\ with  # of transposed whole numbers, on every CPU
      | This\ TensorFlow\ binary\ is\ optimized
      | To\ enable\ the\ following\ instructions
      | TF-TRT\ Warning:\ Could\ not\ find\ TensorRT
      | All\ log\ messages\ before\ absl::InitializeLog
      | Compiled\ cluster\ using\ XLA
      | SetPriority\ unimplemented\ for\ this\ stream
    """,
    re.VERBOSE,
)


@contextlib.contextmanager
def startup():
    """Wrap `import tensorflow` in this, at the top of a command.

    Also turns off from here on, unless TF_CPP_MIN_LOG_LEVEL is set, TensorFlow's INFO lines, and beyond TensorFlow 2.15 the
    WARNING lines of its C++ code (_log_level); and a warning about setuptools by TensorFlow Hub, which TensorFlow Text imports:
    pyproject.toml keeps setuptools below 81 for it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _log_level())
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API", category=UserWarning)
    with _without_noise():
        yield
        if "tensorflow" in sys.modules:
            # Later versions than 2.15 look for a GPU's driver only here. The devices can still be configured afterwards.
            sys.modules["tensorflow"].config.list_physical_devices()


def _log_level():
    """2 beyond TensorFlow 2.15, whose C++ code warns of every operation that fails: invalid inputs, which we report ourselves."""
    for package in ("tensorflow", "tensorflow-tpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return "2" if tuple(map(int, metadata.version(package).split(".")[:2])) > (2, 15) else "1"
    return "1"


def first_compilation():
    """Lets XLA and oneDNN compile something small, so that their first messages do not appear amid a run's progress.

    Call it after a tf.distribute strategy is created, which must come before any computation.
    """
    import tensorflow as tf

    small = tf.function(tf.negative, jit_compile=True)
    long = tf.function(lambda x: tf.linalg.matmul(x, x), jit_compile=True)
    threads = 1 + (os.cpu_count() or 1)
    with _without_noise(), tf.device("CPU:0"):
        small(tf.constant(1.0))
        # Inside another graph it is compiled by another path, which writes another line.
        tf.function(lambda x: small(x) + 1.0)(tf.constant(1.0))
        # XLA writes a line for each stream that it makes, as many as there are compiled parts of a graph that run at one time.
        matrix = tf.zeros([256, 256])
        long(matrix)
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: long(matrix), range(4 * threads)))
        # oneDNN of later versions than TensorFlow 2.15 writes a line where it first finds this in a graph.
        tf.function(tf.transpose)(tf.zeros([2, 2], tf.int32))


@contextlib.contextmanager
def _without_noise():
    lines = []
    try:
        with _held() as lines:
            yield
    finally:
        sys.stderr.writelines(line for line in lines if not NOISE.search(line))


@contextlib.contextmanager
def _held():
    """Captures standard error; the list that it yields has the lines afterwards."""
    lines = []
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            lines += held.read().decode(errors="replace").splitlines(keepends=True)


@contextlib.contextmanager
def conversion():
    """Captures standard error while a model is converted: TFLite's converter lists all operations there.

    The lines are dropped unless the conversion fails by another error than a ValueError, whose message is enough.
    """
    try:
        with _held() as held:
            yield
    except ValueError:
        raise
    except BaseException:
        sys.stderr.writelines(held)
        raise


@contextlib.contextmanager
def hub_import():
    """Wrap `import tensorflow_hub`, or an import of it, in this: it warns about setuptools, whose version is pinned."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API", category=UserWarning)
        yield


@contextlib.contextmanager
def addons_import():
    """Wrap `import tensorflow_addons` in this: it warns about its end of life, and its version is pinned."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*TensorFlow Addons \(TFA\) has ended development", category=UserWarning)
        yield
