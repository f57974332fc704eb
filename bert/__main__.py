"""Prints the zoo as a table: python -m bert"""

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

import bert
from bert.models import forward_flops
from widenet.describe import instances

TOKENS = 512


def main():
    print(f"{'model':<18}{'parameters':>12}{'GFLOPs':>9}  instances over all blocks")
    for name in bert.list_models():
        with tf.Graph().as_default():  # a graph only describes the weights; no numbers are drawn
            model = bert.create_model(name)
        flops = forward_flops(model, TOKENS) / 1e9
        print(f"{name:<18}{model.count_params():>12,}{flops:>9.1f}  {instances(model.get_layer('encoder'))}", flush=True)
    print(f"\nGFLOPs: 10^9 operations of the matrix products in a forward pass of {TOKENS} tokens; a multiply-add counts as two.")


if __name__ == "__main__":
    main()
