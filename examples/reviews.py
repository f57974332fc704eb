"""Texts in a TSV file, by commands: a vocabulary, training, test, answers for new texts, and what a server answers.

    python reviews.py

runs in any folder where the package is installed, in about a minute on two CPU cores. Editors that know `# %%` run it cell by
cell. If the folder reviews/ is missing, it is made of sentences from a few words.
"""

# %% Data: reviews/train.tsv and reviews/test.tsv with the columns text and label; texts.txt for the vocabulary
import itertools
import json
import pathlib
import random
import shlex
import subprocess
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401  # the operations of the exported model's tokenizer

WORDS = {
    "positive": "good great lovely moving clever charming funny brilliant".split(),
    "negative": "bad poor dull tedious clumsy tiresome silly awful".split(),
}
THINGS = "film plot cast music script ending dialogue camera".split()
FORMS = ["the {thing} was {word}", "a {word} {thing} indeed", "what a {word} {thing}", "i found the {thing} rather {word}"]

if not pathlib.Path("reviews").exists():
    rows = [
        f"{form.format(thing=thing, word=word)}\t{label}\n"
        for label, words in WORDS.items()
        for form, thing, word in itertools.product(FORMS, THINGS, words)
    ]
    random.Random(0).shuffle(rows)
    pathlib.Path("reviews").mkdir()
    pathlib.Path("reviews/train.tsv").write_text("text\tlabel\n" + "".join(rows[:400]))
    pathlib.Path("reviews/test.tsv").write_text("text\tlabel\n" + "".join(rows[400:]))
    pathlib.Path("reviews/texts.txt").write_text("".join(row.partition("\t")[0] + "\n" for row in rows[:400]))


def command(line):
    """Runs a command as a shell would, with this Python."""
    print(f"$ python -m {line}", flush=True)
    subprocess.run([sys.executable, "-m", *shlex.split(line)], check=True)


# %% A vocabulary of the training texts, then training from scratch. With a pretrained run, --config.init=RUN has the vocabulary.
command("bert.vocabulary --corpus=reviews/texts.txt --size=300 --output=reviews/vocab.txt")
command(
    "official.train --config=bert/configs/text_file.py:widenet_tiny_e4 --workdir=runs/reviews"
    " --config.data.train_file=reviews/train.tsv --config.data.test_file=reviews/test.tsv"
    " --config.data.vocabulary=reviews/vocab.txt --config.data.max_length=16 --config.model.depth=2"
    " --config.train.epochs=6 --config.train.warmup_steps=10 --config.train.eval_every=30"
)

# %% Accuracy on the test file
command("official.evaluate --model=runs/reviews --split=test")

# %% Answers for new texts, in any table with a column for them
pathlib.Path("reviews/new.csv").write_text('id,review\n7,"What a charming, clever film!"\n8,the music was awful\n')
command("official.predict --model=runs/reviews --input=reviews/new.csv --column text=review --output=reviews/answers.jsonl")
for line in pathlib.Path("reviews/answers.jsonl").read_text().splitlines():
    answer = json.loads(line)
    print(answer["input"], answer["label"], answer["probabilities"])

# %% For TensorFlow Serving: models/reviews/1, the next time models/reviews/2. docs/serving.md has the server's commands.
command("official.export --model=runs/reviews --output=models/reviews --versioned")
served = tf.saved_model.load(str(max(pathlib.Path("models/reviews").iterdir(), key=lambda path: int(path.name))))
request = {"instances": [{"text": "a tedious plot indeed"}]}  # the body of a request, and what its answer will have
found = served.signatures["serving_default"](text=tf.constant([row["text"] for row in request["instances"]]))
print(request, "->", {"labels": found["labels"][0].numpy().decode(), "probabilities": found["probabilities"][0].numpy().tolist()})
