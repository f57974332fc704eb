"""Prints the zoo as a table: python -m bert"""

from official import quiet

with quiet.startup():
    import tensorflow as tf

import bert
from bert.models import forward_flops
from widenet.cost import instances

TOKENS = 512


def main():
    print(f"{'model':<18}{'parameters':>12}{'GFLOPs':>9}  instances over all blocks")
    for name in bert.list_models():
        with tf.Graph().as_default():  # where weights are only described: billions of numbers need not be drawn
            model = bert.create_model(name)
        flops = forward_flops(model, TOKENS) / 1e9
        print(f"{name:<18}{model.count_params():>12,}{flops:>9.1f}  {instances(model.get_layer('encoder'))}", flush=True)
    print(f"\nGFLOPs: billions of operations in the matrix products of one forward pass, {TOKENS} tokens; a multiply-add is two.")


if __name__ == "__main__":
    main()
