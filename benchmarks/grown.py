"""Accuracies of a small published BERT and of models that grow out of it, fine-tuned on sentiment:
python -m benchmarks.grown --model=models/minilm --data=sst2 --workdir=runs/grown --json=grown-sst2.json

The model is what bert.convert made of all-MiniLM-L6-v2, or of another BERT of six blocks. The command grows and distils what
a case needs, fine-tunes it by bert/configs/sentiment_small.py with each seed, and prints mean and spread of the accuracies: of
SST-2 on its validation split, of Rotten Tomatoes on the test split. WideNets, and cases with a teacher, learn from the dense
model that was fine-tuned with the same seed; WideNets are distilled before that on segments of Wikipedia and of film reviews,
without labels. The file of --json is written after every run. Runs in this file are not repeated, and stopped ones are resumed.
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

from benchmarks.runs import add_runs, all_runs
from benchmarks.variants import rows_of, show_rows
from official.cli.subprocesses import run_command
from official.training.seeds import RunFailed, train_and_evaluate

SPLITS = {"sst2": "validation", "rotten_tomatoes": "test"}
SEGMENTS = (
    "--config.data.name=wikipedia_sample+imdb",
    "--config.data.max_length=32",
    "--config.data.validation_split=validation[:1000]",
)


class Case(NamedTuple):
    """One row of the table.

    Attributes:
      title: of the row.
      model: settings of the grown model; None for the dense one.
      blocks: arguments of official.grow that say whose attention and FFNs are taken.
      steps: of distillation; 0 for none.
      has_teacher: whether it learns from the fine-tuned dense model, as all with steps do.
      starts_fresh: whether only the settings are taken, and no weight.
    """

    title: str
    model: dict | None = None
    blocks: tuple = ()
    steps: int = 0
    has_teacher: bool = False
    starts_fresh: bool = False


def moe(num_experts, **settings):
    """Settings of a model with experts in all blocks, of which none drops a token or is balanced."""
    return dict(moe_blocks="all", num_experts=num_experts, capacity_factor=None, balance_weight=0.0, **settings)


def groups(number):
    """Settings of a WideNet of six blocks in groups that share attention, and have the FFNs of their blocks as experts."""
    return moe(6 // number, top_k=1, attention_groups=number, ffn_groups=number)


EXPERTS = moe(4, renormalize=True)
ONE_GROUP = moe(4, top_k=1, attention_groups=1, ffn_groups=1)
CASES = {
    "dense": Case("dense"),
    "experts": Case("four experts a block", EXPERTS),
    "dense_taught": Case("dense, with a teacher", has_teacher=True),
    "experts_taught": Case("four experts a block, with a teacher", EXPERTS, has_teacher=True),
    "shared_ffn": Case("one FFN of six experts for all blocks", moe(6, top_k=1, ffn_groups=1)),
    "widenet_1": Case("WideNet, one attention and four experts", ONE_GROUP, ("--attention=2", "--experts=0,2,3,5"), 2400),
    "widenet_2": Case("WideNet in two groups, each of three experts", groups(2), steps=1200),
    "widenet_3": Case("WideNet in three groups, each of two experts", groups(3), steps=1200),
    "scratch": Case("WideNet, one attention and four experts, from scratch", ONE_GROUP, starts_fresh=True),
}
VOCABULARY = "assets.extra/vocab.txt"  # in the folder of a converted model
# Of all-MiniLM-L6-v2.
SIZE = dict(depth=6, width=384, heads=12, ffn_dim=1536, expert_dim=1536, embedding_dim=384)


class Runs:
    """The runs in a folder; each is made when it is first needed.

    Args:
      model: pathlib.Path of the dense model.
      data: a key of SPLITS.
      workdir: pathlib.Path of the folder.
      arguments: list of str, further arguments of fine-tuning.
    """

    def __init__(self, model, data, workdir, arguments):
        self._model = model
        self._data = data
        self._workdir = workdir
        self._arguments = arguments

    def fine_tuned(self, name, seed):
        """(workdir, the content of summary.json, metrics) of a case. Raises RunFailed."""
        case, recipe = CASES[name], f"bert/configs/sentiment_small.py:{self._data}"
        arguments = [f"--config.train.seed={seed}", *self._arguments]
        if case.starts_fresh:
            arguments += [f"--config.data.vocabulary={self._model / VOCABULARY}", *_settings({**SIZE, **case.model})]
        else:
            arguments.append(f"--config.init={self._start(name)}")
        if case.steps or case.has_teacher:
            teacher, *_ = self.fine_tuned("dense", seed)
            recipe += ",distil"
            arguments.append(f"--config.distillation.teacher={teacher}")
        workdir = self._workdir / f"{self._data}-{name}-{seed}"
        return workdir, *train_and_evaluate(recipe, workdir, arguments, SPLITS[self._data])

    def _start(self, name):
        """Path of what a case is fine-tuned from."""
        case = CASES[name]
        if not case.model:
            return self._model
        grown = self._workdir / f"grown-{name}"
        if not grown.exists():
            segments = SEGMENTS if case.model.get("ffn_groups") else ()
            places = f"--model={self._model}", f"--output={grown}"
            self._run("official.grow", grown, *places, *case.blocks, *_settings(case.model), *segments)
        if not case.steps:
            return grown
        distilled = self._workdir / f"distilled-{name}"
        teacher = f"--config.distillation.teacher={self._model}"
        lengths = f"--config.train.steps={case.steps}", f"--config.train.eval_every={case.steps // 8}"
        train_and_evaluate("bert/configs/distil.py", distilled, [f"--config.init={grown}", teacher, *SEGMENTS, *lengths])
        return distilled

    def _run(self, module, path, *arguments):
        with path.with_name(path.name + ".log").open("a") as log:
            if run_command([sys.executable, "-m", module, *arguments], stdout=log):
                raise RunFailed(f"{module} could not make {path}; {log.name} has its output")


def _settings(model):
    return [f"--config.model.{name}={value}" for name, value in model.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=pathlib.Path, help="the dense model, a folder that bert.convert wrote")
    parser.add_argument("--data", choices=SPLITS, required=True)
    parser.add_argument("--data_dir", help="TensorFlow Datasets' folder with glue/sst2 (default: its own)")
    parser.add_argument("--cases", default=",".join(CASES), help="names, separated by commas (default: %(default)s)")
    add_runs(parser, seeds=1)
    given = parser.parse_args()
    cases = given.cases.split(",")
    unknown = set(cases) - set(CASES)
    if unknown:
        sys.exit(f"error: cases={given.cases!r} is not allowed: they must be some of {', '.join(CASES)}")
    if not (given.model / VOCABULARY).is_file():
        sys.exit(f"error: model={str(given.model)!r} is not allowed: it must be what bert.convert wrote, with {VOCABULARY}")
    arguments = [f"--config.data.dir={pathlib.Path(given.data_dir).resolve()}"] if given.data_dir else []
    given.workdir.mkdir(parents=True, exist_ok=True)
    runs = Runs(given.model.resolve(), given.data, given.workdir.resolve(), arguments)
    titles = {name: case.title for name, case in CASES.items()}

    def make(name, seed):
        _, summary, metrics = runs.fine_tuned(name, seed)
        return {
            "accuracy": metrics["accuracy"],
            "loss": metrics["loss"],
            "parameters": summary["parameters"],
            "minutes": summary["wall_seconds"] / 60,
            "git_commit": summary["git_commit"],
        }

    def content(runs):
        return dict(data=given.data, runs=runs, variants=rows_of(runs, titles.values()))

    wanted = [(dict(variant=titles[name], seed=seed), (name, seed)) for seed in range(given.seeds) for name in cases]
    results = all_runs(given.json, wanted, make, content, "variant")
    show_rows(rows_of(results, [titles[name] for name in cases]))


if __name__ == "__main__":
    main()
