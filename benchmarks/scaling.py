"""Scaling of the MoE layer's training step with the number of tokens, in time and memory: python -m benchmarks.scaling

Fits seconds = a * tokens^b, and the same for extra memory: the peak during the steps minus the memory before the first step, when
layer and input exist.
"""

import pathlib

import numpy as np

from benchmarks import command
from benchmarks.harness import Case

TOKENS = (1568, 3136, 6272, 12544, 25088)


def exponent(values):
    """b of the least-squares fit of log(values) = log(a) + b log(TOKENS)."""
    return float(np.polyfit(np.log(TOKENS), np.log(values), 1)[0])


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    given = parser.parse_args()
    settings = dict(precision=given.precision, mode="train", length=196, width=768, experts=4, hidden=4096, top_k=2)
    cases = [Case(f"{tokens} tokens", "benchmarks/scaling.py", "layer", dict(settings, batch=tokens // 196)) for tokens in TOKENS]

    def fit(rows):
        for row in rows:
            row["facts"]["extra MiB"] = (row["peak_bytes"] - row["facts"]["bytes_before"]) / 2**20
        return {
            "exponent of time": exponent([row["median_seconds"] for row in rows]),
            "exponent of extra memory": exponent([row["facts"]["extra MiB"] for row in rows]),
        }

    command.run(f"one MoE layer, forward and backward, {given.precision}", cases, given, ("kept", "extra MiB"), fit)


def layer(**settings):
    """The case of benchmarks/layer_cases.py, with the memory of the process before its first step."""
    from benchmarks.layer_cases import shared_moe

    step, facts = shared_moe(**settings)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    facts["bytes_before"] = pages * 4096
    return step, facts


if __name__ == "__main__":
    main()
