"""How time and memory of the MoE layer's train step grow with the tokens: python -m benchmarks.growth

Fits seconds = a * tokens^b, and extra memory likewise: the most that the process held during the steps, less what it held with
layer and input made and before the first of them.
"""

import pathlib

import numpy as np

from benchmarks import arguments
from benchmarks.alternate import Contestant

TOKENS = (1568, 3136, 6272, 12544, 25088)


def exponent(values):
    """b of the least-squares fit of log(values) = log(a) + b log(TOKENS)."""
    return float(np.polyfit(np.log(TOKENS), np.log(values), 1)[0])


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    given = parser.parse_args()
    settings = dict(precision=given.precision, mode="train", length=196, width=768, experts=4, hidden=4096, top_k=2)
    contestants = [
        Contestant(f"{tokens} tokens", "benchmarks/growth.py", "layer", dict(settings, batch=tokens // 196)) for tokens in TOKENS
    ]

    def fit(rows):
        for row in rows:
            row["facts"]["extra MiB"] = (row["peak_bytes"] - row["facts"]["bytes_before"]) / 2**20
        return {
            "exponent of time": exponent([row["median_seconds"] for row in rows]),
            "exponent of extra memory": exponent([row["facts"]["extra MiB"] for row in rows]),
        }

    arguments.run(f"one MoE layer, forward and backward, {given.precision}", contestants, given, ("kept", "extra MiB"), fit)


def layer(**settings):
    """benchmarks/layer_contestants.py's, with the memory that the process holds before its first step."""
    from benchmarks.layer_contestants import shared_moe

    step, facts = shared_moe(**settings)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    facts["bytes_before"] = pages * 4096
    return step, facts


if __name__ == "__main__":
    main()
