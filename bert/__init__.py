"""Text models by name: BERT, ALBERT and WideNet.

    zoo, models, layers, transfer                        the models and their sizes; weights of one model for another
    tokenizer, tokenizers/                               texts to tokens: WordPiece and SentencePiece inside the graph
    vocabulary, prepare, word_vectors, fill, convert     commands: python -m bert.NAME --help
    conversion/                                          models of Hugging Face and Google, there and back
    classification, embedding, pretraining,              the tasks; task and serving have what they share
    question_answering
    texts/, sentences/, masked_lm/, squad/               data, metrics and settings of each task
    corpus/                                              plain texts and the pretraining data made of them
    recipes, configs/                                    recipes for python -m official.train

create_model, load_model, list_models and model_settings are all that most users need. `python -m bert` prints the models as a
table.
"""

from bert.zoo import create_model, list_models, load_model, model_settings
from official.zoo import OPTIMIZERS, import_with_tensorflow

__all__ = ["create_model", "list_models", "load_model", "model_settings"]

# So that tf.keras.models.load_model knows their classes; the optimizers may need TensorFlow Addons, which is slow to import.
import_with_tensorflow("bert.layers", "bert.masked_lm.loss", "bert.sentences.loss", on_demand=OPTIMIZERS)
