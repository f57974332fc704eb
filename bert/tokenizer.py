"""Opens tokenizers that run inside the graph: WordPiece with a BERT vocab.txt, SentencePiece as ALBERT uses it.

tokenizer = open_tokenizer("vocab.txt")
inputs = pack(tokenizer, [tokenizer.tokenize(texts)], max_length=128)
"""

import os

import tensorflow as tf

from bert.tokenizers.base import SpecialIds, Tokenizer
from bert.tokenizers.packing import pack
from bert.tokenizers.sentencepiece import SentencePiece
from bert.tokenizers.wordpiece import WordPiece

__all__ = ["SpecialIds", "Tokenizer", "open_tokenizer", "pack"]


def open_tokenizer(path, lower_case=True):
    """Opens the Tokenizer of a vocabulary file.

    Args:
      path: of a BERT vocab.txt, one token a line, or of a SentencePiece model, named *.model; on any file system of TensorFlow.
      lower_case: whether texts become lower case and lose their accents; it must be as the vocabulary was made.

    Raises:
      ValueError: a file that does not exist or is not a vocabulary; names the file and, if possible, the line.
    """
    path = os.fspath(path)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise ValueError(f"{path}: the file does not exist")
    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    if not content:
        raise ValueError(f"{path}: it is empty")
    return (SentencePiece if path.endswith(".model") else WordPiece)(content, lower_case, path)
