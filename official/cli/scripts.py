"""The installed scripts of official's commands: widenet-NAME does what python -m official.NAME does."""

import functools
import os
import runpy
import sys


def run(module):
    """Runs a command's module under the name __main__, from which absl's --help takes its text and flags.

    Recipes and --task_module may name modules in the working directory, as with python -m. It is searched last, so that a folder
    with a common name, such as vision, does not hide the installed package.
    """
    sys.path.append(os.getcwd())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


train = functools.partial(run, "official.train")
evaluate = functools.partial(run, "official.evaluate")
export = functools.partial(run, "official.export")
predict = functools.partial(run, "official.predict")
publish = functools.partial(run, "official.publish")
prepare = functools.partial(run, "official.prepare")
repeat = functools.partial(run, "official.repeat")
grow = functools.partial(run, "official.grow")
report = functools.partial(run, "official.report")
data_service = functools.partial(run, "official.data_service")
