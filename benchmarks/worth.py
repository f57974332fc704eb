"""What each part of the optimisation is worth: python -m benchmarks.worth --part=layer (or encoder, or optimizer)

layer: forward and backward of one MoE layer as in benchmarks.layer, ours with its elementwise functions left to TensorFlow, ours
without transposing a kernel beforehand, ours compiled by XLA as a whole with static buffers, and a plain loop over experts with
stacked kernels.
encoder: forward and backward of six blocks of WideNet-B, without one of the parts that concern all blocks.
optimizer: LAMB on the weights of WideNet-B/16, ours and that of TensorFlow Addons.
"""

from benchmarks import arguments
from benchmarks.alternate import Contestant
from benchmarks.layer import SHAPE

FILE = "benchmarks/worth_contestants.py"


def contestants(part, precision):
    """The rows of one part, ours first."""
    if part == "optimizer":
        return [Contestant(name, FILE, "optimizer", dict(addons=name != "ours")) for name in ("ours", "TensorFlow Addons")]
    if part == "encoder":
        settings = {"ours": {}, "norms not compiled": dict(norms=False)}
        if precision == "mixed_bfloat16":
            settings["weights cast in every block"] = dict(cast_once=False)
        return [Contestant(name, FILE, "encoder", dict(own, precision=precision)) for name, own in settings.items()]
    shape = dict(SHAPE, mode="train", precision=precision, batch=8, length=196)
    moe = ("benchmarks/layer_contestants.py", "shared_moe")
    static = dict(shape, jit_compile=True)
    return [
        Contestant("ours", *moe, shape),
        Contestant("elementwise not compiled", *moe, dict(shape, compiled=False)),
        Contestant("no kernel transposed beforehand", FILE, "without_transposition", shape),
        Contestant("all XLA, full buffers", *moe, static, "every expert has room for all tokens: E / K times the products"),
        Contestant("all XLA, capacity 1.2", *moe, dict(static, capacity_factor=1.2), "1.2 times the products; drops some"),
        Contestant("plain loop, stacked kernels", FILE, "plain_layer", dict(shape)),
    ]


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--part", choices=["layer", "encoder", "optimizer"], default="layer")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32", help="of layer and encoder")
    given = parser.parse_args()
    arguments.run(f"worth of the parts: {given.part}", contestants(given.part, given.precision), given, columns=())


if __name__ == "__main__":
    main()
