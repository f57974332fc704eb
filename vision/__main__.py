"""Prints the zoo as a table: python -m vision"""

from official import quiet

with quiet.startup():
    import tensorflow as tf

import vision
from vision.models import forward_flops


def sharing(encoder):
    """How many instances of each component the blocks use."""
    parts = {
        "attention": len(encoder.attentions),
        "FFN": len(encoder.dense_layers),
        "MoE": len(encoder.moe_layers),
        "norms": encoder.attention_norm.depth,
    }
    return ", ".join(f"{count} {part}" for part, count in parts.items() if count)


def main():
    print(f"{'model':<14}{'parameters':>13}{'GFLOPs':>9}  instances over all blocks")
    for name in vision.list_models():
        with tf.Graph().as_default():  # where weights are only described: billions of numbers need not be drawn
            model = vision.create_model(name)
        encoder = model.get_layer("encoder")
        flops = forward_flops(model) / 1e9
        print(f"{name:<14}{model.count_params():>13,}{flops:>9.1f}  {sharing(encoder)} for {encoder.depth} blocks", flush=True)
    print("\nGFLOPs: billions of operations in the matrix products of one forward pass, 224 pixels; a multiply-add is two.")


if __name__ == "__main__":
    main()
