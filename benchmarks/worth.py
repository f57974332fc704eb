"""What each part of the optimisation is worth: python -m benchmarks.worth --part=layer (or optimizer, or casts)

layer: forward and backward of one MoE layer as in benchmarks.layer, ours with its elementwise functions left to TensorFlow, ours
compiled by XLA as a whole with static buffers, and a plain loop over experts with stacked kernels.
optimizer: LAMB on the weights of WideNet-B/16, ours and that of TensorFlow Addons.
casts: six blocks of a bfloat16 encoder, with shared weights cast once and with a cast a block.
"""

from benchmarks import arguments
from benchmarks.alternate import Contestant
from benchmarks.layer import SHAPE

FILE = "benchmarks/worth_contestants.py"


def contestants(part, precision):
    """The rows of one part, ours first."""
    if part == "optimizer":
        return [Contestant(name, FILE, "optimizer", dict(addons=name != "ours")) for name in ("ours", "TensorFlow Addons")]
    if part == "casts":
        return [Contestant(f"cast {how}", FILE, "encoder", dict(cast_once=how == "once")) for how in ("once", "in every block")]
    shape = dict(SHAPE, mode="train", precision=precision, batch=8, length=196)
    moe = ("benchmarks/layer_contestants.py", "shared_moe")
    static = dict(shape, jit_compile=True)
    return [
        Contestant("ours", *moe, shape),
        Contestant("elementwise not compiled", *moe, dict(shape, compiled=False)),
        Contestant("all XLA, full buffers", *moe, static, "every expert has room for all tokens: E / K times the products"),
        Contestant("all XLA, capacity 1.2", *moe, dict(static, capacity_factor=1.2), "1.2 times the products; drops some"),
        Contestant("plain loop, stacked kernels", FILE, "plain_layer", dict(shape)),
    ]


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--part", choices=["layer", "optimizer", "casts"], default="layer")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32", help="of --part=layer")
    given = parser.parse_args()
    arguments.run(f"worth of the parts: {given.part}", contestants(given.part, given.precision), given, columns=())


if __name__ == "__main__":
    main()
