"""Input pipelines against a training step, in images per second:
python -m benchmarks.input_pipeline --jpegs=FOLDER --data_dir=DIR

Each pipeline runs alone and is restarted in every round, so that nothing is prefetched. The step is that of WideNet-B/16 at 224
pixels. FOLDER has JPEG files, such as the 20 of ImageNet in the wheel of foolbox 3.3.4 (foolbox/data); DIR is where TensorFlow
Datasets prepared CIFAR-10.
"""

import pathlib

from benchmarks import command
from benchmarks.harness import Case
from official.cli.arguments import add_data_dir

STEP_IMAGES = 8


def pipeline(recipe, images, batch, jpegs="", data_dir=""):
    """A case (benchmarks/worker.py): a recipe's training batches, of its own data set or of JPEG files."""
    import runpy

    from official.data.bad_examples import BadExamples
    from vision.caching import cached
    from vision.data import file_source, open_dataset
    from vision.pipeline import ImagePipeline

    path, _, argument = recipe.partition(":")
    config = runpy.run_path(path)["get_config"](*([argument] if argument else []))
    data, model = config.data, config.model
    bad_examples = BadExamples("refuse")
    if jpegs:
        files = sorted(pathlib.Path(jpegs).glob("*.jp*g"))
        if not files:
            raise ValueError(f"--jpegs={jpegs}: there are no JPEG files")
        source = file_source(files * 50, [0] * len(files) * 50)
    else:
        dataset = open_dataset(data.name, data_dir)
        source = dataset.source(data.train_split or dataset.splits["train"], data.shuffle_buffer)
        source = cached(source, model.channels, data.cache_mib, model.classes, bad_examples)
    batches = ImagePipeline(source, model.image_size, model.channels, model.classes, data, bad_examples)
    batches = batches.train_batches(batch, seed=0, start_step=0).take(images // batch)

    def step():
        for _ in batches:
            pass

    return step, {"images": images}


def cases(precision, jpegs, data_dir):
    """The training step and the pipelines of three recipes."""
    own = "benchmarks/input_pipeline.py"
    step = dict(name="widenet_b16", precision=precision, mode="train", batch=STEP_IMAGES)
    imagenet = dict(recipe="vision/configs/imagenet.py", images=256, batch=32, jpegs=jpegs)
    tuning = dict(recipe="vision/configs/cifar10_finetune.py", images=1024, batch=32, data_dir=data_dir)
    scratch = dict(recipe="vision/configs/cifar10.py", images=8192, batch=128, data_dir=data_dir)
    return [
        Case("train step", "benchmarks/image_models.py", "zoo", step, f"widenet_b16, 224 pixels, batch 8, {precision}"),
        Case("ImageNet recipe", own, "pipeline", imagenet, "JPEGs, Inception crop to 224 pixels, RandAugment, mixup"),
        Case("CIFAR-10 fine-tuning recipe", own, "pipeline", tuning, "resized to 224 pixels, mixup"),
        Case("CIFAR-10 recipe", own, "pipeline", scratch, "32 pixels"),
    ]


def add_rates(rows, unit="images", of_step=STEP_IMAGES):
    """Adds facts["images a second"], or another unit, and facts["times the step's"], its ratio to that of the first row."""
    rows[0]["facts"][unit] = of_step
    for row in rows:
        row["facts"][f"{unit} a second"] = row["facts"][unit] / row["median_seconds"]
        row["facts"]["times the step's"] = row["facts"][f"{unit} a second"] / rows[0]["facts"][f"{unit} a second"]
    return {}


def main():
    parser = command.parser(__doc__)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="mixed_bfloat16")
    parser.add_argument("--jpegs", required=True, help="folder of JPEG files")
    text = "TensorFlow Datasets' data_dir, with CIFAR-10 (default: its own folder)"
    add_data_dir(parser, text, aliases=["--cifar10-dir"])
    given = parser.parse_args()
    rows = cases(given.precision, str(pathlib.Path(given.jpegs).resolve()), given.data_dir or "")
    command.run("input pipelines", rows, given, ("images a second", "times the step's"), add_rates)


if __name__ == "__main__":
    main()
