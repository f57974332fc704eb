"""The paper's pretraining on Wikipedia and BookCorpus, for every model in its table: masked words and sentence order.

Command, on a TPU with the data prepared in DIR:
    python -m official.train --config=bert/configs/pretraining.py:widenet_base_e4 --workdir=runs/pretraining \
        --config.data.dir=DIR --config.train.strategy=tpu --config.train.tpu=local
Models: albert_base, bert_base (with factorized embedding), widenet_base_e4, widenet_base_e8, widenet_base_e16 (or any other of
    bert.list_models()).
Data: python -m bert.prepare --corpus=enwiki-latest-pages-articles.xml.bz2 --corpus=BOOKS --vocabulary=VOCABULARY --output=DIR \
        --shards=1024 --validation=0.001
    BOOKS is a folder of text files, VOCABULARY has 30,000 tokens, such as ALBERT's SentencePiece model.
Cost: 125,000 steps of 4096 sequences of 512 tokens. It has not been run here.
Accuracy: the paper's results after fine-tuning are in bert/configs/glue.py and squad.py.
"""

from bert.recipes import paper_pretraining


def get_config(model="widenet_base_e4"):
    """The recipe; `model` is a name of bert.list_models()."""
    return paper_pretraining(model)
