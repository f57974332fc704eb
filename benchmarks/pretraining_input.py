"""The pretraining input pipeline against a training step, in sequences per second:
python -m benchmarks.pretraining_input --data_dir=DIR

The pipeline runs alone and is restarted in every round, so that nothing is prefetched. The step is that of widenet_base_e4 on the
same batches. DIR was written by bert.prepare, with --max_length=512 as in the paper's recipe:

    python -m bert.prepare --corpus=wikipedia_sample --vocabulary=vocab.txt --output=DIR --max_length=512 --runner=local
"""

import pathlib

from benchmarks import command
from benchmarks.harness import Case
from benchmarks.input_pipeline import add_rates
from official.cli.arguments import add_data_dir

STEP_SEQUENCES = 2
OWN = "benchmarks/pretraining_input.py"


def _task(data, batch):
    """The task of the paper's recipe, for prepared data of any length."""
    from bert.corpus.shards import read_info
    from bert.pretraining import Pretraining
    from bert.recipes import paper_pretraining

    config = paper_pretraining("widenet_base_e4")
    settings = read_info(data)["settings"]
    config.data.update(dir=data, max_length=settings["max_length"], lower_case=settings["lower_case"])
    config.train.batch_size = batch
    return Pretraining(config)


def pipeline(data, sequences, batch, masking="dynamic"):
    """A case (benchmarks/worker.py): training batches of prepared data."""
    task = _task(data, batch)
    task.config.data.masking = masking
    batches = task.train_dataset(0).take(sequences // batch)

    def step():
        for _ in batches:
            pass

    return step, {"sequences": sequences}


def train_step(data, precision, batch):
    """A case: losses, gradients and LAMB of widenet_base_e4 on one batch of prepared data."""
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


def cases(precision, data):
    """The training step and the pipelines."""
    step = dict(data=data, precision=precision, batch=STEP_SEQUENCES)
    return [
        Case("train step", OWN, "train_step", step, f"widenet_base_e4, batch {STEP_SEQUENCES}, {precision}"),
        Case("dynamic masking", OWN, "pipeline", dict(data=data, sequences=2048, batch=64)),
        Case("static masking", OWN, "pipeline", dict(data=data, sequences=2048, batch=64, masking="static")),
    ]


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="mixed_bfloat16")
    add_data_dir(parser, "folder that bert.prepare has written", aliases=["--data"], required=True)
    given = parser.parse_args()
    rows = cases(given.precision, str(pathlib.Path(given.data_dir).resolve()))
    columns = ("sequences a second", "times the step's")
    command.run("pretraining input", rows, given, columns, lambda rows: add_rates(rows, "sequences", STEP_SEQUENCES))


if __name__ == "__main__":
    main()
