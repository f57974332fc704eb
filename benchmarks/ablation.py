"""Ablation of the performance optimizations: python -m benchmarks.ablation --part=layer (or encoder, or optimizer)

layer: forward and backward pass of one MoE layer as in benchmarks.layer; without compiled elementwise functions; without
  transposed kernels; compiled by XLA as a whole with static buffers; and a plain loop over experts with stacked kernels.
encoder: forward and backward pass of six blocks of WideNet-B, each time without one optimization that concerns all blocks.
optimizer: LAMB on the weights of WideNet-B/16, ours and the one whose update ours compiles: that of TensorFlow Addons where they
  are installed.
"""

from benchmarks import command
from benchmarks.harness import Case
from benchmarks.layer import SHAPE

FILE = "benchmarks/ablation_cases.py"


def cases(part, precision):
    """The rows of one part, ours first."""
    if part == "optimizer":
        return [Case("ours", FILE, "optimizer"), Case("not compiled", FILE, "optimizer", dict(compiled=False))]
    if part == "encoder":
        settings = {"ours": {}, "norms not compiled": dict(norms=False)}
        if precision == "mixed_bfloat16":
            settings["weights cast in every block"] = dict(cast_once=False)
        return [Case(name, FILE, "encoder", dict(own, precision=precision)) for name, own in settings.items()]
    shape = dict(SHAPE, mode="train", precision=precision, batch=8, length=196)
    moe = ("benchmarks/layer_cases.py", "shared_moe")
    static = dict(shape, jit_compile=True)
    return [
        Case("ours", *moe, shape),
        Case("elementwise not compiled", *moe, dict(shape, compiled=False)),
        Case("kernels not transposed", FILE, "without_transposition", shape),
        Case("all XLA, full buffers", *moe, static, "buffers for all tokens in every expert: E / K times the products"),
        Case("all XLA, capacity 1.2", *moe, dict(static, capacity_factor=1.2), "1.2 times the products; drops some"),
        Case("plain loop, stacked kernels", FILE, "plain_layer", dict(shape)),
    ]


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--part", choices=["layer", "encoder", "optimizer"], default="layer")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32", help="of layer and encoder")
    given = parser.parse_args()
    command.run(f"ablation: {given.part}", cases(given.part, given.precision), given, columns=())


if __name__ == "__main__":
    main()
