"""Whether pretraining's input pipeline keeps up with the train step: python -m benchmarks.pretraining_input --data=DIR

Sequences a second of the pipeline alone, which is started anew for every round so that nothing lies ready, beside a train step of
widenet_base_e4 on the same batches. DIR is what bert.prepare has written, with --max_length=512 as in the paper's recipe:

    python -m bert.prepare --corpus=wikipedia_sample --vocabulary=vocab.txt --output=DIR --max_length=512 --runner=local
"""

import pathlib

from benchmarks import arguments
from benchmarks.alternate import Contestant
from benchmarks.input_pipeline import add_rates

STEP_SEQUENCES = 2
OWN = "benchmarks/pretraining_input.py"


def _task(data, batch):
    """The task of the paper's recipe, on prepared data of any length."""
    from bert.corpus.shards import read_info
    from bert.pretraining import Pretraining
    from bert.recipes import paper_pretraining

    config = paper_pretraining("widenet_base_e4")
    settings = read_info(data)["settings"]
    config.data.update(dir=data, max_length=settings["max_length"], lower_case=settings["lower_case"])
    config.train.batch_size = batch
    return Pretraining(config)


def pipeline(data, sequences, batch, masking="dynamic"):
    """Training batches of prepared data; a contestant (benchmarks/serve.py)."""
    task = _task(data, batch)
    task.config.data.masking = masking
    batches = task.train_dataset(0).take(sequences // batch)

    def step():
        for _ in batches:
            pass

    return step, {"sequences": sequences}


def train_step(data, precision, batch):
    """Losses, gradients and LAMB of widenet_base_e4 on one batch of prepared data; a contestant."""
    import tensorflow as tf

    from benchmarks.image_models import lamb
    from official.training.optimizers import LAMB

    tf.keras.utils.set_random_seed(0)
    tf.keras.mixed_precision.set_global_policy(precision)
    task = _task(data, batch)
    model = task.create_model()
    model.compile(lamb(LAMB), task.loss())
    batches = iter(task.train_dataset(0).take(1).cache().repeat())
    train = model.make_train_function()

    def step():
        float(train(batches)["loss"])

    return step, {"parameters": model.count_params()}


def contestants(precision, data):
    """The train step and pipelines."""
    step = dict(data=data, precision=precision, batch=STEP_SEQUENCES)
    return [
        Contestant("train step", OWN, "train_step", step, f"widenet_base_e4, batch {STEP_SEQUENCES}, {precision}"),
        Contestant("dynamic masking", OWN, "pipeline", dict(data=data, sequences=2048, batch=64)),
        Contestant("static masking", OWN, "pipeline", dict(data=data, sequences=2048, batch=64, masking="static")),
    ]


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="mixed_bfloat16")
    parser.add_argument("--data", required=True, help="folder that bert.prepare has written")
    given = parser.parse_args()
    rows = contestants(given.precision, str(pathlib.Path(given.data).resolve()))
    columns = ("sequences a second", "times the step's")
    arguments.run("pretraining input", rows, given, columns, lambda rows: add_rates(rows, "sequences", STEP_SEQUENCES))


if __name__ == "__main__":
    main()
