"""How much of this project a run reads: python -m benchmarks.imports --config=vision/configs/digits.py

Prints the project's files that a short run of official.train imports, from data to export, with their lines. With --step, the
files whose code runs while one training step is traced: model, losses and optimizer.
"""

import argparse
import pathlib
import runpy
import sys
import tempfile

from official.cli import quiet

with quiet.startup():
    import tensorflow as tf

from official import train

ROOT = pathlib.Path(__file__).parents[1]
THIS = "benchmarks"


def recipe(argument):
    """The ConfigDict of a recipe, "FILE.py" or "FILE.py:ARGUMENT", two steps long."""
    path, _, own = argument.partition(":")
    config = runpy.run_path(path)["get_config"](*([own] if own else []))
    config.train.update(steps=2, warmup_steps=0, eval_every=2)
    return config


def imported_files(config, workdir, recipe_file):
    """The recipe and the files of the project that are imported once its run is finished, relative to its root, in order."""
    train.run(config, workdir)
    imported = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
    return own_files([*imported, pathlib.Path(recipe_file).absolute()])


def files_of_step(config, workdir):
    """The files of the project whose code runs while a training step is traced, relative to its root, in order."""
    run = train.Run(config, workdir)
    batch = next(iter(run.task.train_dataset(0)))
    step = tf.function(run.model.train_step, autograph=False)  # which would run code under other names
    files = set()
    sys.setprofile(lambda frame, event, argument: files.add(frame.f_code.co_filename) if event == "call" else None)
    try:
        step.get_concrete_function(batch)
    finally:
        sys.setprofile(None)
    return own_files(files)


def own_files(paths):
    inside = {pathlib.Path(path).relative_to(ROOT) for path in paths if pathlib.Path(path).is_relative_to(ROOT)}
    return sorted(path for path in inside if path.parts[0] != THIS and path.suffix == ".py" and "site-packages" not in path.parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="vision/configs/digits.py", help="recipe (default: %(default)s)")
    parser.add_argument("--step", action="store_true", help="only the files that run in one training step")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, workdir = recipe(given.config), f"{folder}/run"
        files = files_of_step(config, workdir) if given.step else imported_files(config, workdir, given.config.partition(":")[0])
    lines = [len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in files]
    for path, count in zip(files, lines, strict=True):
        print(f"{count:6,}  {path}")
    what = "run in a training step" if given.step else "imported by a run"
    print(f"{len(files)} files of {sum(lines) / len(files):.0f} lines in the mean are {what} of {given.config}")


if __name__ == "__main__":
    main()
