"""What tests of the driver share: the digits recipe at a size that trains in seconds, and its command line."""

import contextlib
import hashlib
import os
import pathlib
import resource
import subprocess
import sys
from unittest import mock

from official import train
from vision.configs import digits

ROOT = pathlib.Path(__file__).parents[2]
RECIPE = "vision/configs/digits.py"

SETTINGS = {
    "model.depth": 2,
    "model.width": 16,
    "model.heads": 2,
    "model.ffn_dim": 32,
    "model.expert_dim": 32,
    "model.num_experts": 3,
    "model.patch_size": 4,
    "train.batch_size": 16,
    "train.steps": 7,
    "train.eval_every": 3,
    "train.warmup_steps": 2,
}
# Without experts there is neither noise nor balance loss: what a step does follows from the weights and the batch.
DENSE = {"model.moe_blocks": 0}


def tiny_config(*more, **train):
    """The recipe's config with SETTINGS, then each dict of dotted keys in `more`, then `train` settings."""
    config = digits.get_config()
    for settings in (SETTINGS, *more, {f"train.{key}": value for key, value in train.items()}):
        config.update_from_flattened_dict(settings)
    return config


def command(workdir, *arguments, **settings):
    """The driver's command line for the tiny recipe; `settings` are dotted keys that are not in SETTINGS or replace theirs."""
    replaced = {**SETTINGS, **settings}
    return [
        sys.executable,
        "-m",
        "official.train",
        f"--config={RECIPE}",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in replaced.items()),
        *arguments,
    ]


@contextlib.contextmanager
def without_export():
    """Runs end with an empty folder in place of the export, and without the picture: half the time of a short run."""
    export = mock.patch.object(train.Run, "_export", lambda run, *_: (run.workdir / "saved_model").mkdir(exist_ok=True))
    with export, mock.patch.object(train.Run, "_draw", lambda *_: None):
        yield


@contextlib.contextmanager
def full_disk():
    """Files cannot grow beyond 64 bytes, in Python or in TensorFlow: as on a full disk, with another message."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def environment(**more):
    """That of a user who has set nothing for TensorFlow, but for the number of threads."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TF_", "PYTHON", "PYTEST")) or key.endswith("_THREADS")
    }
    return {**kept, **more}


def run_command(arguments, timeout=600, **more):
    """Runs a command in the checkout to its end, in at most `timeout` seconds."""
    return subprocess.run(arguments, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=timeout)


def files_and_digests(folder):
    """{path inside: SHA-256} of all files, to see that nothing was touched."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
