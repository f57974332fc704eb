"""setuptools' build backend, whose wheels also hold widenet_keras.pth beside the packages: setuptools has no setting for that."""

import base64
import hashlib
import pathlib
import shutil
import zipfile

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the other hooks of PEP 517

START = "widenet_keras.pth"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _with_start(wheel_directory, build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _with_start(wheel_directory, build_meta.build_editable(wheel_directory, config_settings, metadata_directory))


def _with_start(folder, name):
    """Adds the file to a wheel and to RECORD, its list of digests, which stands last in the archive; returns the wheel's name."""
    path = pathlib.Path(folder, name)
    start = pathlib.Path(START).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(start).digest()).rstrip(b"=").decode()
    whole = path.with_suffix(".part")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as new:
        *entries, record = sorted(old.infolist(), key=lambda entry: entry.filename.endswith(".dist-info/RECORD"))
        for entry in entries:
            new.writestr(entry, old.read(entry))
        new.writestr(START, start)
        new.writestr(record, old.read(record) + f"{START},sha256={digest},{len(start)}\n".encode())
    shutil.move(whole, path)
    return name
