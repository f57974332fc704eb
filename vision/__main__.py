"""Prints the table of all models: python -m vision"""

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

import vision
from vision.models import forward_flops
from widenet.cost import instances


def main():
    print(f"{'model':<14}{'parameters':>13}{'GFLOPs':>9}  instances over all blocks")
    for name in vision.list_models():
        with tf.Graph().as_default():  # in a graph no weights are allocated
            model = vision.create_model(name)
        flops = forward_flops(model) / 1e9
        print(f"{name:<14}{model.count_params():>13,}{flops:>9.1f}  {instances(model.get_layer('encoder'))}", flush=True)
    print("\nGFLOPs: billions of operations in matrix products, one forward pass at 224 pixels; a multiply-add counts as two.")


if __name__ == "__main__":
    main()
