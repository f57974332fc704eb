"""Keeps the start-up noise of TensorFlow and its companions off the terminal, and nothing else.

On import and when XLA first compiles, TensorFlow writes, from C++ and past Python's logging, lines about CUDA libraries, oneDNN,
CPU instructions and the like that are the same in every healthy run. They are held back by pattern; whatever else appears on
standard error meanwhile is passed on.
"""

import contextlib
import os
import re
import sys
import tempfile
import warnings

NOISE = re.compile(
    r"""oneDNN\ custom\ operations\ are\ on
      | Could\ not\ find\ cuda\ drivers
      | Unable\ to\ register\ cu(DNN|FFT|BLAS)\ factory
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

    Also asks TensorFlow to keep its INFO lines to itself from here on, unless TF_CPP_MIN_LOG_LEVEL says otherwise, and Python to
    keep the warning that TensorFlow Hub gives, which TensorFlow Text imports: requirements.txt holds setuptools below 81 for it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API", category=UserWarning)
    with _without_noise():
        yield


def first_compilation():
    """Lets XLA compile something small, so that what it writes the first time is not written amid a run's progress.

    Call it after a tf.distribute strategy is made, which must come before any computation.
    """
    import tensorflow as tf

    small = tf.function(tf.negative, jit_compile=True)
    with _without_noise(), tf.device("CPU:0"):
        small(tf.constant(1.0))
        # Called inside another graph it is compiled by another path, which writes a line of its own.
        tf.function(lambda x: small(x) + 1.0)(tf.constant(1.0))


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
    """Yields a list that has the lines of standard error afterwards, which nobody else gets."""
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
    """Holds standard error back while a model is converted: TFLite's converter counts all operations there, line by line.

    What was held is passed on where the conversion fails by anything but a ValueError, which says itself what is wrong.
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
    """Wrap `import tensorflow_hub` in this, or what imports it: it warns of a part of setuptools, which the pins keep."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API", category=UserWarning)
        yield


@contextlib.contextmanager
def addons_import():
    """Wrap `import tensorflow_addons` in this: it warns of its end of life, which the pins take into account."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*TensorFlow Addons \(TFA\) has ended development", category=UserWarning)
        yield
