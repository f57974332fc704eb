"""Sentence embeddings from pairs of texts, or from single texts and dropout, starting from a trained model.

Command: python -m official.train --config=bert/configs/embedding.py --workdir=runs/embedding --config.init=PRETRAINED \
    --config.data.name=glue/mnli, where PRETRAINED is a run or SavedModel, whose size and vocabulary are used
From scratch: --config.data.vocabulary=vocab.txt instead of init. Another model: --config=bert/configs/embedding.py:bert_small
Data: pairs of glue/mnli, qnli, qqp, rte, mrpc or wnli; your own pairs in columns text and text_pair by --config.data.name=file
    --config.data.train_file=pairs.tsv; or single texts: --config.data.name=lines --config.data.train_file=texts.txt with a text
    on each line, wikipedia_sample, imdb, rotten_tomatoes, glue/sst2 and so on. See docs/text.md.
Similarity: python -m official.evaluate --model=runs/embedding --config.data.name=glue/stsb
Cost: 1000 steps of 64 examples, two texts each; larger batches have more negatives.
Accuracy: not measured yet.
"""

from bert.recipes import embedding_recipe


def get_config(model="", init=""):
    """The recipe; `model` is a name of bert.list_models(), by default that of the size of `init`, or widenet_tiny_e4."""
    return embedding_recipe(
        model,
        dict(),
        data=dict(name="wikipedia_sample", max_length=64, padding="batch"),
        train=dict(steps=1000, warmup_steps=100, batch_size=64, lr=3e-5, eval_every=250),
        init=init,
        default="widenet_tiny_e4",
    )
