"""Whole image models against Hugging Face's on PyTorch: python -m benchmarks.models

ViT-B/16 at 224 pixels: vit_b16 and Hugging Face's model have the same blocks. WideNet-B/16 has a third of the parameters. A
training step is forward, cross entropy, backward and optimizer; all use AdamW, since PyTorch has no LAMB. Needs
`sh benchmarks/peers/setup.sh torch`.
"""

from benchmarks import command
from benchmarks.harness import Case
from benchmarks.layer import TORCH_PRECISIONS, torch_rows
from benchmarks.peers.environments import available


def cases(precision, mode, batch, compiled):
    """Ours first."""
    own = dict(precision=precision, mode=mode, batch=batch, optimizer="adamw")
    rows = [
        Case("vit_b16", "benchmarks/image_models.py", "zoo", dict(own, name="vit_b16")),
        Case(
            "widenet_b16, none dropped", "benchmarks/image_models.py", "zoo", dict(own, name="widenet_b16", capacity_factor=None)
        ),
    ]
    for torch_precision in TORCH_PRECISIONS[precision]:
        rows += torch_rows("Hugging Face ViT-B", "vit_step", dict(precision=torch_precision, mode=mode, batch=batch), compiled)
    return available(rows)


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--precision", choices=list(TORCH_PRECISIONS), default="float32")
    parser.add_argument("--mode", choices=["train", "forward"], default="train")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--compiled", action="store_true", help="also PyTorch's model through torch.compile")
    given = parser.parse_args()
    rows = cases(given.precision, given.mode, given.batch, given.compiled)
    command.run(f"whole models, {given.mode} step, batch {given.batch}, {given.precision}", rows, given)


if __name__ == "__main__":
    main()
