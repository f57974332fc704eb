"""Keras code of your own around a model of the zoo: fit, save, load, train a new head, features, export.

    python keras_script.py

runs in any folder where the package is installed, in less than a minute on two CPU cores. Editors that know `# %%` run it cell by
cell. The data are scikit-learn's handwritten digits.
"""

# %% Data: float images [N, height, width, channels] in [-1, 1] and integer labels [N]
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import vision

digits = load_digits()
images, labels = digits.images[..., None].astype("float32") / 8 - 1, digits.target
test = np.arange(len(labels)) % 5 == 0
train = ~test

# %% A model of the zoo by name, any of its settings changed; then plain Keras
tf.keras.utils.set_random_seed(0)
print(vision.list_models("widenet*"))
model = vision.create_model(
    "widenet_ti16", classes=10, image_size=8, patch_size=2, channels=1, depth=2, width=64, heads=4, expert_dim=128
)
loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(tf.keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
model.fit(images[train], labels[train], batch_size=64, epochs=6, validation_data=(images[test], labels[test]), verbose=2)

# %% Save and load. In another process, `import vision` comes before load_model: Keras finds the layers then.
model.save("digits.keras")
loaded = tf.keras.models.load_model("digits.keras")
accuracy = loaded.evaluate(images[test], labels[test], verbose=0, return_dict=True)["accuracy"]
print(f"{accuracy:.1%} of the digits are right after loading")

# %% Another task: the weights of all layers that fit, a new head, and only the head is trained
parity = vision.load_model("digits.keras", classes=2)
for layer in parity.layers:
    layer.trainable = layer.name == "head"
parity.compile(tf.keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
parity.fit(images[train], labels[train] % 2, batch_size=64, epochs=3, verbose=0)
accuracy = parity.evaluate(images[test], labels[test] % 2, verbose=0, return_dict=True)["accuracy"]
print(f"{accuracy:.1%} are even or odd as they should")

# %% Features [N, width], for other libraries or as a layer of a model of your own
features = vision.load_model("digits.keras", classes=0, name="features").predict(images, verbose=0)
neighbors = KNeighborsClassifier().fit(features[train], labels[train])
print(f"{neighbors.score(features[test], labels[test]):.1%} of the digits are like their neighbors")

# %% Export for serving: TensorFlow alone loads it
model.export("digits_export")
served = tf.saved_model.load("digits_export")
print("predicted", served.serve(images[-8:]).numpy().argmax(-1), "labels", labels[-8:])
