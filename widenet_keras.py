"""Makes tf.keras be Keras 2, which is chosen by a variable of the environment before TensorFlow is imported.

From 2.16 on, TensorFlow takes Keras 3, or with TF_USE_LEGACY_KERAS=1 the package tf_keras, which is Keras 2. Older versions have
Keras 2 anyway, and with the variable a second copy of it.

`widenet` and `official` call `require` before they import TensorFlow. Scripts may import TensorFlow first: so in an environment
that make or pip has installed them in, each start of Python runs widenet_keras.pth, which calls `at_start`.
"""

import importlib.util
import os
import sys

VARIABLE = "TF_USE_LEGACY_KERAS"
PACKAGES = ("tensorflow", "tensorflow_cpu", "tensorflow_tpu", "tensorflow_intel", "tensorflow_macos", "tf_nightly")
KERAS_2 = ("1", "true", "True")  # the values that TensorFlow knows


def at_start():
    """Sets the variable where the installed TensorFlow needs it, unless the user has."""
    if _has_keras_3(_installed_version()):
        os.environ.setdefault(VARIABLE, "1")


def require():
    """Makes sure that tf.keras is, or will be, Keras 2.

    Raises:
      ImportError: it is Keras 3 already, or the variable asks for Keras 3, or the package tf_keras is missing.
    """
    tensorflow = sys.modules.get("tensorflow")
    has_keras_3 = _has_keras_3(getattr(tensorflow, "__version__", None) or _installed_version())
    if tensorflow is None and not has_keras_3:
        os.environ.pop(VARIABLE, None)  # classes of the second copy are not those that TensorFlow Addons and files name
    if not has_keras_3:
        return
    if importlib.util.find_spec("tf_keras") is None:
        raise ImportError(
            "WideNet needs Keras 2, which this TensorFlow lacks: install the package tf-keras in TensorFlow's version"
        )
    if tensorflow is None:
        value = os.environ.setdefault(VARIABLE, "1")
        if value not in KERAS_2:
            raise ImportError(f"{VARIABLE}={value!r} is not allowed: it must be 1, since WideNet needs Keras 2")
    elif not any("tf_keras" in path.split(os.sep) for path in tensorflow.__path__):  # fixed by its import, unlike the variable
        raise ImportError(
            f"TensorFlow was imported with Keras 3, and WideNet needs Keras 2: import widenet, vision, bert or official before "
            f"TensorFlow, or set the variable {VARIABLE}=1 before Python starts"
        )


def _has_keras_3(version):
    """Whether Keras 3 is the default of a version of TensorFlow, a string; False for None."""
    return version is not None and tuple(int(number) for number in version.split(".")[:2]) >= (2, 16)


def _installed_version():
    """The version of TensorFlow by the name of its metadata's folder, which is fast to find; None if there is none."""
    spec = importlib.util.find_spec("tensorflow")
    for folder in (spec and spec.submodule_search_locations) or ():
        for name in os.listdir(os.path.dirname(folder)):
            package, _, version = name.removesuffix(".dist-info").partition("-")
            if package in PACKAGES and name.endswith(".dist-info"):
                return version
    return None
