"""Your own photos, in a folder for each class: train, evaluate, find the mistakes, and use the features.

    python photos.py

runs in any folder where the package is installed, in less than a minute on two CPU cores. Editors that know `# %%` run it cell by
cell. If the folder photos/ is missing, it is made of scikit-learn's handwritten digits.
"""

# %% Photos: photos/train/CLASS/FILE and photos/test/CLASS/FILE, here PNGs of 32 x 32 pixels
import collections
import json
import pathlib

import numpy as np
import PIL.Image
from sklearn.datasets import load_digits

import vision
from official.evaluate import evaluate
from official.predict import predict
from official.train import run
from vision.configs import folder

if not pathlib.Path("photos").exists():
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "test" if number % 5 == 0 else "train"
        path = pathlib.Path("photos", split, f"digit_{label}", f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray((image * 15).astype(np.uint8)).resize((32, 32)).convert("RGB").save(path)

# %% Train. The recipe chooses the settings by the number of photos; here it is shortened. As a command:
# widenet-train --config=vision/configs/folder.py:photos --workdir=runs/photos --config.data.flip=False ...
config = folder.get_config("photos")
config.model.image_size = 32  # in pixels; photos of any size are resized to it
config.data.flip = False  # by default half of the photos are mirrored, which is wrong for digits
config.train.update(steps=400, warmup_steps=20, eval_every=100, batch_size=32)
summary = run(config, "runs/photos")

# %% Evaluate on the photos in photos/test; the confusion matrix and other pictures are in runs/photos/evaluation/test
metrics, files = evaluate("runs/photos", split="test")
print(f"{metrics['metrics']['top_1']:.1%} of {metrics['examples']} test photos are right")

# %% Answers for files, and the mistakes among them. Other photos need no class folders.
predict("runs/photos", "photos/test/*/*.png", "runs/photos/answers.jsonl")
answers = [json.loads(line) for line in pathlib.Path("runs/photos/answers.jsonl").read_text().splitlines()]
wrong = [answer for answer in answers if answer["label"] != pathlib.Path(answer["input"]).parent.name]
for answer in wrong[:5]:
    print(f"{answer['input']}: {answer['label']} ({max(answer['probabilities'].values()):.0%})")

# %% Features: the same model without its head. Which photos are most like the first one?
model = vision.load_model("runs/photos", classes=0)
paths = sorted(pathlib.Path("photos/test").glob("*/*.png"))
images = np.stack([np.asarray(PIL.Image.open(path).resize((32, 32)), np.float32) / 127.5 - 1 for path in paths])
features = model.predict(images, verbose=0)
features /= np.linalg.norm(features, axis=1, keepdims=True)
nearest = np.argsort(-features @ features[0])[1:6]
print(f"most like {paths[0]}:", collections.Counter(paths[i].parent.name for i in nearest))
