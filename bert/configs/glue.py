"""Fine-tuning on a task of GLUE of a model that was pretrained on text; on MNLI and SST-2 as in the paper.

Command: python -m official.train --config=bert/configs/glue.py:mnli,widenet_base_e4 --workdir=runs/mnli \
    --config.init=PRETRAINED, a workdir or SavedModel of a run of pretraining, whose vocabulary is taken
Arguments: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli, and after a comma a name of bert.list_models().
Five seeds and their median: python -m official.repeat --seeds=5 --split=validation with the same --config and --config.init.
Data: python -m official.prepare glue/mnli, in TensorFlow Datasets' folder or in --config.data.dir=DIR.
Cost: of mnli 10,000 steps in batches of 128, of up to 512 tokens; bert/recipes.py has those of all tasks. Where most examples are
    short and no TPU computes, --config.data.padding=batch takes a fraction of the time. Nobody ran the base models here.
Accuracy: the paper's, on the development sets of MNLI and SST-2, is 81.5 and 90.3 (albert_base), 83.2 and 91.5 (bert_base), 82.6
    and 91.1 (widenet_base_e4), 83.3 and 91.9 (widenet_base_e8), 84.1 and 92.2 (widenet_base_e16).
"""

from bert.recipes import glue_recipe


def get_config(argument="sst2,widenet_base_e4"):
    """The recipe; `argument` is a task and, after a comma, a model."""
    task, _, model = argument.partition(",")
    return glue_recipe(task, model or "widenet_base_e4")
