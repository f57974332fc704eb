"""One MoE layer against those of other libraries: python -m benchmarks.layer

1,568 tokens of width 768, 4 experts of 4,096 features, top-2, no drops; ratios are to this project's layer. The other libraries
need environments of their own: `sh benchmarks/peers/setup.sh garden` and `sh benchmarks/peers/setup.sh torch`. Without its
environment a library is left out, with a message.
"""

from benchmarks import command
from benchmarks.harness import Case
from benchmarks.peers.environments import GARDEN, HUGGING_FACE, available

SHAPE = dict(width=768, experts=4, hidden=4096, top_k=2)
# PyTorch has two ways to compute in bfloat16: autocast, and weights in bfloat16.
TORCH_PRECISIONS = {"float32": ["float32"], "mixed_bfloat16": ["mixed_bfloat16", "bfloat16"]}


def cases(precision, mode, compiled):
    """Our layer and those of all other libraries."""
    shape = dict(SHAPE, mode=mode)
    own = dict(shape, precision=precision, batch=8, length=196)
    rows = [Case("widenet.SharedMoE", "benchmarks/layer_cases.py", "shared_moe", own)]
    peer = dict(shape, tokens=8 * 196)
    rows.append(peer_row("Model Garden MoeLayer", GARDEN, "moe_layer", dict(peer, precision=precision)))
    for torch_precision in TORCH_PRECISIONS[precision]:
        settings = dict(peer, precision=torch_precision)
        for name, function in (("Hugging Face Switch", "switch_layer"), ("Hugging Face Mixtral", "mixtral_layer")):
            rows += torch_rows(name, function, settings, compiled)
    return available(rows)


def torch_rows(name, function, settings, compiled):
    """Cases of Hugging Face: eager, eager with memory kept (benchmarks/peers/huggingface.py), and optionally compiled."""
    ways = {"eager": {}, "eager, memory kept": dict(keep_memory=True)}
    if compiled:
        ways["torch.compile, memory kept"] = dict(keep_memory=True, compiled=True)
    return [
        peer_row(f"{name}, {settings['precision']}, {way}", HUGGING_FACE, function, dict(settings, **own))
        for way, own in ways.items()
    ]


def peer_row(name, peer, function, settings):
    """The Case of another library."""
    return Case(name, peer.file, function, settings, python=str(peer.python))


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--precision", choices=list(TORCH_PRECISIONS), default="float32")
    parser.add_argument("--mode", choices=["train", "forward"], default="train", help="train: forward and backward")
    parser.add_argument("--compiled", action="store_true", help="also PyTorch's layers through torch.compile")
    given = parser.parse_args()
    rows = cases(given.precision, given.mode, given.compiled)
    command.run(f"one MoE layer, {given.mode}, {given.precision}", rows, given)


if __name__ == "__main__":
    main()
