"""What models cost in code of your own: python -m benchmarks.own_code

With --part=loop: a training step in a tf.function of one's own against that of `fit`, two blocks of WideNet-Ti/16. With
--part=memory: the resident memory of a process that makes models, one after another. Where other programs run, compare the steps'
processor times.
"""

import gc
import itertools
import pathlib
import statistics
import time

import tensorflow as tf

from benchmarks import command
from benchmarks.harness import Case

THIS = "benchmarks/own_code.py"
# Few blocks: whatever a loop adds to each step weighs more.
STEP = dict(name="widenet_ti16", depth=2, capacity_factor=None)
BATCH = 32  # its tensors are large enough for XLA to compile their functions
SMALL = dict(name="widenet_ti16", depth=1, num_experts=2, image_size=32, classes=10)


def fit():
    from benchmarks.image_models import zoo

    return _timed(*zoo(**STEP, precision="float32", mode="train", batch=BATCH))


def loop():
    """A training step of one's own, with the model, data and optimizer of benchmarks/image_models.py."""
    import vision
    from benchmarks.image_models import lamb
    from official.training.optimizers import LAMB

    tf.keras.utils.set_random_seed(0)
    model, optimizer = vision.create_model(**STEP), lamb(LAMB)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    images = tf.random.stateless_uniform([BATCH, *model.input_shape[1:]], [0, 0], -1, 1)
    labels = tf.random.stateless_uniform([BATCH], [0, 1], 0, model.output_shape[-1], tf.int32)

    @tf.function
    def train(images, labels):
        with tf.GradientTape() as tape:
            total = loss(labels, model(images, training=True)) + tf.add_n(model.losses)
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return total

    return _timed(lambda: float(train(images, labels)), {})


def _timed(step, facts):
    """The step and the facts with its median processor time, that of the two warm-up steps left out."""
    times = []

    def timed():
        start = time.process_time()
        step()
        times.append(1e3 * (time.process_time() - start))
        facts["processor ms"] = statistics.median(times[2:] or times)

    return timed, facts


def models():
    """Each step makes a model; facts have the resident memory after ten of them, and after the last ten."""
    import vision

    facts, counts = {}, itertools.count(1)

    def step():
        vision.create_model(**SMALL)
        if next(counts) % 10 == 0:
            gc.collect()
            facts["MiB at the end"] = _resident_mebibytes()
            facts.setdefault("MiB after 10", facts["MiB at the end"])

    return step, facts


def _resident_mebibytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def ratio_of_processor_times(rows):
    first, *others = [row["facts"]["processor ms"] for row in rows]
    return {"ratio of processor times": others[0] / first}


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--part", choices=["loop", "memory"], default="loop")
    given = parser.parse_args()
    if given.part == "loop":
        both = [Case("fit", THIS, "fit"), Case("own loop", THIS, "loop")]
        command.run("own code, loop", both, given, ("processor ms",), ratio_of_processor_times)
    else:
        command.run("own code, memory", [Case("create_model", THIS, "models")], given, ("MiB after 10", "MiB at the end"))


if __name__ == "__main__":
    main()
