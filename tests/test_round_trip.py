"""From training to another's model and back: train, export, publish, serve the folder with a plain static file server, fine-tune
the module of that address where nothing of ours is, train on from its handle, and publish again."""

import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  # operations of the text model

from bert.configs import text_file
from official import export, publish, train
from tests.bert.prepared_texts import TINY_TEXT, write_jsonl, write_vocabulary
from tests.elsewhere import run_elsewhere
from tests.official.model_repository import static_server
from tests.official.tiny import tiny_config, without_export
from tests.snippets import page, python_snippets

(BALANCED_LAYER,) = (code for code in python_snippets(page("docs/serving.md")) if "class BalancedLayer" in code)
IMAGES = f"""
import numpy as np, tensorflow as tf
{BALANCED_LAYER}
images = np.random.default_rng(0).uniform(-1, 1, [16, 8, 8, 1]).astype(np.float32)
labels = np.arange(16) % 2
inputs = tf.keras.Input([8, 8, 1], name="images")
layer = BalancedLayer(sys.argv[1], trainable=True)
model = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(layer(inputs)["features"]))
"""
TEXTS = f"""
import numpy as np, tensorflow as tf, tensorflow_text
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
model.compile(tf.keras.optimizers.Adam(0.003), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
first = model.evaluate(tf.constant(images), labels, verbose=0)  # without dropout, which is not seeded
model.fit(tf.constant(images), labels, batch_size=8, epochs=20, verbose=0)
last = model.evaluate(tf.constant(images), labels, verbose=0)
changed = sum(bool((weight.numpy() != old).any()) for weight, old in zip(layer.trainable_weights, before))
model.export(sys.argv[-1])
answers = model.predict(tf.constant(images), verbose=0).tolist()
print(json.dumps(dict(first=first, last=last, weights=len(before), changed=changed, answers=answers)))
"""


def command(module, *arguments):
    """A command in this process. Those of the README run in others (tests/test_readme.py)."""
    with mock.patch.object(sys, "argv", [module.__name__, *map(str, arguments)]):
        module.main()


def fine_tune(code, folder, handles, repository):
    """Runs the code on models that a static file server has; what it tells, after a look at what it exported."""
    with static_server(repository) as address:
        addresses = [f"{address}/{handle}" for handle in handles]
        found = run_elsewhere(
            code + FINE_TUNE, folder, *addresses, folder / "fine_tuned", TFHUB_CACHE_DIR=str(folder / "cache of others")
        )
    assert found["last"] < found["first"]
    # All but a few, such as the attention's key bias, which has no gradient.
    assert found["changed"] > 0.8 * found["weights"] > 0
    return tf.saved_model.load(str(folder / "fine_tuned")), np.array(found["answers"])


@pytest.mark.train
@pytest.mark.smoke
def test_images(finished_run, tmp_path, capsys):
    """The whole way. (That a run begins with the handle: tests/official/test_hub.py.)"""
    repository = tmp_path / "repository"
    publishing = [f"--repository={repository}", "--handle=me/vision/tiny"]
    command(publish, *publishing, f"--model={finished_run / 'saved_model'}")
    assert "me/vision/tiny/1" in capsys.readouterr().out
    served, answers = fine_tune(IMAGES, tmp_path, ["me/vision/tiny/1"], repository)
    images = np.random.default_rng(0).uniform(-1, 1, [16, 8, 8, 1]).astype(np.float32)
    # Another process may add in another order: 1e-5 for float32.
    np.testing.assert_allclose(served.serve(images), answers, atol=1e-5)


@pytest.mark.train
def test_images_go_on(finished_run, tmp_path, monkeypatch, capsys):
    """The driver takes the handle, too, and what it makes of it is published as the next version."""
    repository = tmp_path / "repository"
    publishing = [f"--repository={repository}", "--handle=me/vision/tiny"]
    command(publish, *publishing, f"--model={finished_run / 'saved_model'}")
    with static_server(repository) as address:
        monkeypatch.setenv("WIDENET_HUB", address)
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
        train.run(tiny_config({"init": "me/vision/tiny/1"}, steps=1, eval_every=1), tmp_path / "more")
    assert "Starting from me/vision/tiny/1" in capsys.readouterr().out
    command(publish, *publishing, f"--model={tmp_path / 'more' / 'saved_model'}")
    assert "me/vision/tiny/2" in capsys.readouterr().out


@pytest.mark.train
def test_texts(tmp_path):
    """An encoder and its preprocessor, which take raw strings together."""
    write_vocabulary(tmp_path / "vocab.txt", ("good", "bad", "film"))
    write_jsonl(tmp_path / "train.jsonl", *[{"text": f"a {label} film", "label": label} for label in ("good", "bad") * 4])
    config = text_file.get_config()
    config.update_from_flattened_dict(
        TINY_TEXT
        | {"train.steps": 2, "train.eval_every": 2, "train.warmup_steps": 1}
        | {"data.vocabulary": str(tmp_path / "vocab.txt"), "data.train_file": str(tmp_path / "train.jsonl")}
        | {"data.validation_file": str(tmp_path / "train.jsonl")}
    )
    with without_export():
        train.run(config, tmp_path / "run")
    repository = tmp_path / "repository"
    for part in ("encoder", "preprocessor"):
        command(export, f"--workdir={tmp_path / 'run'}", f"--part={part}")
        model = [f"--model={tmp_path / 'run' / part}", f"--handle=me/text/tiny-{part}/1"]
        command(publish, f"--repository={repository}", *model)
    served, answers = fine_tune(TEXTS, tmp_path, ["me/text/tiny-encoder/1", "me/text/tiny-preprocessor/1"], repository)
    texts = tf.constant(["a good film", "a bad film", "good", "bad"] * 4)
    np.testing.assert_allclose(served.serve(texts), answers, atol=1e-5)
