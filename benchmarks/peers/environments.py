"""Python environments of the other libraries."""

import pathlib
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent


class Peer(NamedTuple):
    """Another library.

    Attributes:
      name: of its environment, the argument of benchmarks/peers/setup.sh.
      file: Python file of its cases, relative to the repository's root.
    """

    name: str
    file: str

    @property
    def python(self):
        return ROOT / f".venv-{self.name}" / "bin" / "python"


GARDEN = Peer("garden", "benchmarks/peers/garden.py")
HUGGING_FACE = Peer("torch", "benchmarks/peers/huggingface.py")
TPU = Peer("tpu", "benchmarks/peers/tpu_compiler.py")


def available(cases):
    """The cases whose interpreter exists; prints which are left out, and how to install them."""
    for peer in (GARDEN, HUGGING_FACE):
        if not peer.python.exists() and any(case.python == str(peer.python) for case in cases):
            print(
                f"{peer.file} is left out, as its environment is missing; make it with: sh benchmarks/peers/setup.sh {peer.name}",
                file=sys.stderr,
            )
    return [case for case in cases if case.python is None or pathlib.Path(case.python).exists()]
