"""From training to another's model and back, by the commands as a user runs them: train, export, publish, serve the folder with a
plain static file server, take it up by its handle in another process, fine-tune it there, and export again."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  # operations of the text model

from tests.bert.prepared_texts import write_jsonl, write_vocabulary
from tests.official.model_repository import static_server
from tests.official.tiny import ROOT, command, environment

TINY_TEXT = {
    "model.depth": 2,
    "model.width": 16,
    "model.heads": 2,
    "model.embedding_dim": 8,
    "model.expert_dim": 16,
    "model.max_length": 16,
    "data.max_length": 16,
    "train.steps": 2,
    "train.eval_every": 2,
    "train.warmup_steps": 1,
    "train.batch_size": 4,
}
# As docs/serving.md has it.
BALANCED_LAYER = """
class BalancedLayer(hub.KerasLayer):
    def call(self, inputs, training=None):
        outputs = super().call(inputs, training=training)
        self.add_loss(outputs["balance_loss"])
        return outputs
"""
IMAGES = f"""
import sys, json, numpy as np, tensorflow as tf, tensorflow_hub as hub
import official.hub
{BALANCED_LAYER}
images = np.random.default_rng(0).uniform(-1, 1, [16, 8, 8, 1]).astype(np.float32)
labels = np.arange(16) % 2
inputs = tf.keras.Input([8, 8, 1], name="images")
layer = BalancedLayer(sys.argv[1], trainable=True)
model = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(layer(inputs)["features"]))
"""
TEXTS = f"""
import sys, json, numpy as np, tensorflow as tf, tensorflow_text, tensorflow_hub as hub
import official.hub
{BALANCED_LAYER}
images = np.array(["a good film", "a bad film", "good", "bad"] * 4, object)
labels = np.arange(16) % 2
inputs = tf.keras.Input([], dtype=tf.string, name="texts")
layer = BalancedLayer(sys.argv[1], trainable=True)
ids = hub.KerasLayer(sys.argv[2])(inputs)
model = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(layer(ids)["pooled_output"]))
"""
FINE_TUNE = """
before = [weight.numpy() for weight in layer.trainable_weights]
model.compile(tf.keras.optimizers.Adam(0.01), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
first, *_, last = model.fit(tf.constant(images), labels, batch_size=8, epochs=20, verbose=0).history["loss"]
changed = sum(bool((weight.numpy() != old).any()) for weight, old in zip(layer.trainable_weights, before))
model.export(sys.argv[-1])
answers = model.predict(tf.constant(images), verbose=0).tolist()
print(json.dumps(dict(first=first, last=last, weights=len(before), changed=changed, answers=answers)))
"""


def run(*arguments, **more):
    """The standard output of a command of this project."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fine_tune(code, folder, handles, repository):
    """Runs the code on handles that a static file server has; what it tells, after a look at what it exported."""
    with static_server(repository) as address:
        place = folder / "fine_tuned"
        settings = dict(WIDENET_HUB=address, TFHUB_CACHE_DIR=str(folder / "cache"), TF_CPP_MIN_LOG_LEVEL="3")
        found = json.loads(run("-c", code + FINE_TUNE, *handles, place, **settings).splitlines()[-1])
    assert found["last"] < found["first"]
    # All but a few, such as the attention's key bias, which has no gradient.
    assert found["changed"] > 0.8 * found["weights"] > 0
    return tf.saved_model.load(str(place)), np.array(found["answers"])


@pytest.mark.slow
def test_images(tmp_path):
    """The whole way; and the driver takes the handle, too, and what it makes of it is published as the next version."""
    trained = subprocess.run(command(tmp_path / "run"), cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    repository = tmp_path / "repository"
    run("-m", "official.export", f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'models'}", "--versioned")
    publish = ["-m", "official.publish", f"--repository={repository}", "--handle=me/vision/tiny"]
    assert "me/vision/tiny/1" in run(*publish, f"--model={tmp_path / 'models' / '1'}")
    served, answers = fine_tune(IMAGES, tmp_path, ["me/vision/tiny/1"], repository)
    images = np.random.default_rng(0).uniform(-1, 1, [16, 8, 8, 1]).astype(np.float32)
    # Another process may add in another order: 1e-5 for float32.
    np.testing.assert_allclose(served.serve(images), answers, atol=1e-5)
    with static_server(repository) as address:
        settings = dict(WIDENET_HUB=address, TFHUB_CACHE_DIR=str(tmp_path / "cache"))
        more = subprocess.run(
            command(tmp_path / "more", "--config.init=me/vision/tiny/1"),
            cwd=ROOT,
            env=environment(**settings),
            capture_output=True,
            text=True,
        )
    assert more.returncode == 0, more.stderr
    assert "Starting from me/vision/tiny/1" in more.stdout
    assert "me/vision/tiny/2" in run(*publish, f"--model={tmp_path / 'more' / 'saved_model'}")


@pytest.mark.slow
def test_texts(tmp_path):
    """An encoder and its preprocessor, which take raw strings together."""
    write_vocabulary(tmp_path / "vocab.txt", ("good", "bad", "film"))
    write_jsonl(tmp_path / "train.jsonl", *[{"text": f"a {label} film", "label": label} for label in ("good", "bad") * 4])
    settings = dict(TINY_TEXT)
    settings |= {"data.vocabulary": tmp_path / "vocab.txt", "data.train_file": tmp_path / "train.jsonl"}
    settings |= {"data.validation_file": tmp_path / "train.jsonl"}
    given = [f"--config.{key}={value}" for key, value in settings.items()]
    run("-m", "official.train", "--config=bert/configs/text_file.py", f"--workdir={tmp_path / 'run'}", *given)
    repository = tmp_path / "repository"
    for part in ("encoder", "preprocessor"):
        run("-m", "official.export", f"--workdir={tmp_path / 'run'}", f"--part={part}")
        model = [f"--model={tmp_path / 'run' / part}", f"--handle=me/text/tiny-{part}/1"]
        run("-m", "official.publish", f"--repository={repository}", *model)
    served, answers = fine_tune(TEXTS, tmp_path, ["me/text/tiny-encoder/1", "me/text/tiny-preprocessor/1"], repository)
    texts = tf.constant(["a good film", "a bad film", "good", "bad"] * 4)
    np.testing.assert_allclose(served.serve(texts), answers, atol=1e-5)
