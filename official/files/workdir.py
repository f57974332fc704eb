"""Names of the files and folders in the workdir of a run. Imports no TensorFlow."""

CONFIG_JSON = "config.json"  # the recipe, as it was given
PRECISION_TXT = "precision.txt"  # what train.precision="auto" chose
METRICS_CSV = "metrics.csv"  # one row an evaluation
EXPERT_LOAD_CSV = "expert_load.csv"  # named after the metric "expert_load", as the table of every metric that has one
SUMMARY_JSON = "summary.json"  # of a finished run
CURVES_PNG = "curves.png"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
BEST_CHECKPOINT = "checkpoints-best"  # with train.best
SAVED_MODEL = "saved_model"  # what the run exports at its end
EVALUATION = "evaluation"  # evaluation/SPLIT/ has what official.evaluate wrote
METRICS_JSON = "metrics.json"  # in a folder that official.evaluate wrote
