"""What tests of question answering share: vocabularies made of given texts, and SQuAD's JSON files."""

import collections
import json
import pathlib
import re
import unicodedata

import pytest

PREPARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"
REAL = PREPARED / "squad" / "v2.0"
needs_real_set = pytest.mark.skipif(not REAL.exists(), reason=f"no prepared squad/v2.0 in {PREPARED}")


def write_vocabulary(path, texts, words=10_000):
    """A vocab.txt of the texts' most frequent words and of all characters, in lower case without accents. Returns its path."""
    counts = collections.Counter()
    for text in texts:
        decomposed = unicodedata.normalize("NFD", text.lower())
        bare = "".join(character for character in decomposed if not unicodedata.combining(character))
        counts.update(re.findall(r"[^\W_]+|_|[^\w\s]", bare))
    characters = sorted({character for word in counts for character in word if character.isprintable()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{character}" for character in characters)]
    tokens += [word for word, _ in counts.most_common(words) if word.isprintable()]
    path.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    return str(path)


def write_questions(path, paragraphs):
    """A file in SQuAD's format. Returns the path as str.

    Args:
      paragraphs: {context: {question: list of answers}}; an answer is where it first occurs in the context, a list of none
        says that there is none, and None that it is not known. Questions get the ids q0, q1, ...
    """
    ids, data = iter(range(10**6)), []
    for context, questions in paragraphs.items():
        entries = []
        for question, answers in questions.items():
            entry = {"id": f"q{next(ids)}", "question": question}
            if answers is not None:
                entry["answers"] = [{"text": answer, "answer_start": context.index(answer)} for answer in answers]
                entry["is_impossible"] = not answers
            entries.append(entry)
        data.append({"title": "some article", "paragraphs": [{"context": context, "qas": entries}]})
    path.write_text(json.dumps({"version": "2.0", "data": data}), encoding="utf-8")
    return str(path)
