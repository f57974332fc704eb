"""What tests of text tasks share: recipes of models that train in seconds."""

from bert.recipes import classification_recipe

MODEL = dict(depth=2, width=16, heads=2, ffn_dim=32, expert_dim=32, num_experts=3, embedding_dim=8, max_length=32)
TRAIN = dict(batch_size=4, steps=4, eval_every=2, lr=0.01)


def classification_config(vocabulary, data, model="widenet_tiny_e4", **train):
    """A recipe for classification or regression.

    Args:
      vocabulary: path of a vocab.txt.
      data: dict, of bert.texts.settings.data_settings.
      model: a name of bert.list_models().
      **train: of official.config.train_settings.
    """
    data = dict(vocabulary=str(vocabulary), max_length=16, **data)
    return classification_recipe(model, MODEL, data, {**TRAIN, **train})
