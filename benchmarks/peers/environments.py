"""Where the peers' environments are."""

import pathlib
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent


class Peer(NamedTuple):
    """Another library.

    Attributes:
      name: of its environment, as benchmarks/peers/setup.sh takes it.
      file: path from the repository's root of its contestants.
    """

    name: str
    file: str

    @property
    def python(self):
        return ROOT / f".venv-{self.name}" / "bin" / "python"


GARDEN = Peer("garden", "benchmarks/peers/garden.py")
HUGGING_FACE = Peer("torch", "benchmarks/peers/huggingface.py")


def available(contestants):
    """Those whose interpreter is there; says which are left out and how to get them."""
    for peer in (GARDEN, HUGGING_FACE):
        if not peer.python.exists() and any(contestant.python == str(peer.python) for contestant in contestants):
            print(
                f"left out, for want of an environment: {peer.file}; make it with sh benchmarks/peers/setup.sh {peer.name}",
                file=sys.stderr,
            )
    return [contestant for contestant in contestants if contestant.python is None or pathlib.Path(contestant.python).exists()]
