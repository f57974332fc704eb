"""Distillation of a text model: a model learns every block's output of its teacher, without labels.

Command: python -m official.train --config=bert/configs/distil.py --workdir=runs/distilled --config.init=GROWN \
    --config.distillation.teacher=TEACHER, where GROWN is what official.grow made of TEACHER, a run or an exported model; or
    --config.init=TEACHER and settings of another deployment, such as --config.model.attention_groups=2
Arguments: nothing for segments of Wikipedia (pip install '.[text]'), or sst2 for the sentences of SST-2; other texts as in
    bert/configs/embedding.py: --config.data.name=lines --config.data.train_file=texts.txt. After a comma a name of
    bert.list_models(), for a model of another size or deployment than that of init.
Data: python -m official.prepare glue/sst2, in TensorFlow Datasets' default folder or in --config.data.dir=DIR.
Result: an encoder with the head of bert/embedding.py, as --config.init of any recipe for text. docs/weights.md has examples.
Cost and accuracy: 0.6 seconds a step of 32 segments of 32 tokens on two CPU cores, for MiniLM with one attention and one of four
    experts a token; docs/weights.md has what 2,400 steps reach.
"""

from bert.recipes import embedding_recipe
from official.distillation import distillation_recipe

TEXTS = {"": dict(name="wikipedia_sample", max_length=64), "sst2": dict(name="glue/sst2", max_length=32)}


def get_config(argument="", init=""):
    """The recipe; `argument` is "texts" or "texts,model". Without a model it has the size of `init`, or of widenet_tiny_e4."""
    texts, _, model = argument.partition(",")
    if texts not in TEXTS:
        raise ValueError(f"texts {texts!r} are not allowed: they must be one of {', '.join(map(repr, TEXTS))}")
    recipe = embedding_recipe(
        model,
        # A block keeps the expert that was grown out of its own FFN.
        dict(dropout=0.0, attention_dropout=0.0, capacity_factor=None, balance_weight=0.0),
        data=dict(**TEXTS[texts], views=1, pairs=False),
        train=dict(steps=3000, warmup_steps=100, batch_size=32, lr=1e-3, weight_decay=0.0, eval_every=300),
        init=init,
        default="widenet_tiny_e4",
    )
    return distillation_recipe(recipe)
