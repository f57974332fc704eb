"""Fine-tuning of a pretrained model on a GLUE task; MNLI and SST-2 as in the paper.

Command: python -m official.train --config=bert/configs/glue.py:mnli --workdir=runs/mnli --config.init=PRETRAINED, the
    workdir or SavedModel of a pretraining run, whose size and vocabulary are used
Arguments: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli; for a model of another size or deployment than that of
    PRETRAINED, then a comma and a name of bert.list_models().
Median of five seeds: python -m official.repeat --seeds=5 --split=validation with the same --config and --config.init.
Data: python -m official.prepare glue/mnli, in TensorFlow Datasets' default folder or in --config.data.dir=DIR.
Cost: for mnli 10,000 steps of 128 examples of up to 512 tokens; bert/recipes.py has the settings of all tasks. Without a TPU,
    --config.data.padding=batch is much faster on short examples. The base models have not been run here.
Accuracy: in the paper, on the development sets of MNLI and SST-2, 81.5 and 90.3 (albert_base), 83.2 and 91.5 (bert_base), 82.6
    and 91.1 (widenet_base_e4), 83.3 and 91.9 (widenet_base_e8), 84.1 and 92.2 (widenet_base_e16).
"""

from bert.recipes import glue_recipe


def get_config(argument="sst2", init=""):
    """The recipe; `argument` is "task" or "task,model". Without a model it has the size of `init`, or of widenet_base_e4."""
    task, _, model = argument.partition(",")
    return glue_recipe(task, model, init=init, default="widenet_base_e4")
