"""Whole models against Hugging Face's: python -m benchmarks.models

ViT-B/16 at 224 pixels: vit_b16 and Hugging Face's model on PyTorch have the same blocks. WideNet-B/16 has a third of the
parameters. A training step is forward, cross entropy, backward and optimizer; all use AdamW, since PyTorch has no LAMB.

With --model=minilm a text model: MiniLM's BERT of 6 blocks of width 384 with a head for 2 classes, --batch texts of --length
tokens, in float32, and Hugging Face's classes on PyTorch and on TensorFlow. The gradients are clipped, too.

Hugging Face's on PyTorch need `sh benchmarks/peers/setup.sh torch`, those on TensorFlow the extra test of pyproject.toml.
"""

import importlib.util
import sys

from benchmarks import command
from benchmarks.harness import Case
from benchmarks.layer import TORCH_PRECISIONS, torch_rows
from benchmarks.peers.environments import available
from benchmarks.text_models import MINILM

TENSORFLOW_PEER = "benchmarks/peers/huggingface_tf.py"
# Our settings by Hugging Face's names.
NAMES = dict(
    num_hidden_layers="depth",
    hidden_size="width",
    num_attention_heads="heads",
    intermediate_size="ffn_dim",
    vocab_size="vocab_size",
)


def image_cases(precision, mode, batch, compiled):
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


def text_cases(mode, batch, length, compiled, sizes=MINILM):
    """Ours first, in float32. `sizes` are settings of bert.create_model, embeddings as wide as the model."""
    shape = dict(mode=mode, batch=batch, length=length)
    theirs = dict(shape, **{name: sizes[ours] for name, ours in NAMES.items()})
    note = "one more dropout in training, inside the FFN" if mode == "train" else ""
    rows = [Case("ours", "benchmarks/text_models.py", "classifier", dict(shape, **sizes), note)]
    rows += torch_rows("Hugging Face, PyTorch", "bert_step", dict(theirs, precision="float32"), compiled)
    if importlib.util.find_spec("transformers"):
        for name, jit_compile in (("", False), (", jit_compile", True)):
            settings = dict(theirs, jit_compile=jit_compile)
            rows.append(Case(f"Hugging Face, TensorFlow, float32{name}", TENSORFLOW_PEER, "bert_step", settings))
    else:
        print(f"{TENSORFLOW_PEER} is left out, as the package transformers is missing", file=sys.stderr)
    return available(rows)


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--model", choices=["vit_b16", "minilm"], default="vit_b16")
    parser.add_argument("--precision", choices=list(TORCH_PRECISIONS), default="float32")
    parser.add_argument("--mode", choices=["train", "forward"], default="train")
    parser.add_argument("--batch", type=command.positive, help="examples of a step (default: 8 images, 32 texts)")
    parser.add_argument("--length", type=command.positive, default=64, help="tokens of a text (default: 64)")
    parser.add_argument("--compiled", action="store_true", help="also PyTorch's model through torch.compile")
    given = parser.parse_args()
    is_text = given.model == "minilm"
    if is_text and given.precision != "float32":
        parser.error("--precision=mixed_bfloat16 is not allowed with --model=minilm: it must be float32")
    batch = given.batch or (32 if is_text else 8)
    if is_text:
        rows = text_cases(given.mode, batch, given.length, given.compiled)
    else:
        rows = image_cases(given.precision, given.mode, batch, given.compiled)
    command.run(f"{given.model}, {given.mode} step, batch {batch}, {given.precision}", rows, given)


if __name__ == "__main__":
    main()
