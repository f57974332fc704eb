"""Training driver, evaluation, export and model hub, for any task.

Commands, `python -m official.NAME`: train, evaluate, export, predict, publish, prepare (a data set), repeat (several seeds),
grow (experts out of a dense model), report (runs side by side).
For code: hub (load published models), task (what to implement for a new task), exportable (what a task exports), config (recipes
and their settings), zoo (refusals of unknown names).

training/     callbacks, optimizers, fine-tuning, devices and TensorBoard files of a run
evaluation/   runs a model over a split; a classifier's metrics and plots
serving/      SavedModels and other runtimes: written, compared and measured
checkpoints/  saves, finds and reads trained weights
comparison/   runs side by side on one HTML page
repository/   published models: handles, archives, index, cache, cards
data/         sources of examples, TensorFlow Datasets, bad examples
files/        names, tables, summary and atomic writes of files
cli/          arguments, recipe flag, installed scripts, status line, signals, quiet libraries, subprocesses

Imports go down this list only; tests/test_arrows.py has the table.
"""

import widenet_keras  # before TensorFlow

widenet_keras.require()
