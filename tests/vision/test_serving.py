"""Encoded images as requests have them: the pipeline's pixels, and bad ones refused by number without their decoding."""

import functools
import io
import pathlib
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from official.data.bad_examples import BadExamples
from tests.vision.pictures import encoded, photo, picture, settings, with_scans
from vision.caching import cached
from vision.data import file_source
from vision.decoding import decode_crop, whole
from vision.pipeline import ImagePipeline
from vision.preprocessing import training_image
from vision.serving import decode_request

ROOT = pathlib.Path(__file__).parents[2]
SIZE = 8
LIMIT = 10_000


@functools.cache
def decoder(channels=3, eval_crop=0.0, max_pixels=LIMIT):
    """decode_request as a graph."""
    signature = [tf.TensorSpec([None], tf.string)]
    decode = functools.partial(decode_request, size=SIZE, channels=channels, eval_crop=eval_crop, max_pixels=max_pixels)
    return tf.function(decode, input_signature=signature)


def of_every_kind():
    """Bytes of JPEG and PNG pictures in color, grey, CMYK, with transparency, a palette, 16 bits, and of the model's size."""
    color, grey = picture(1, 31, 45), picture(2, 31, 45, channels=1)
    deep = np.concatenate([grey, grey], axis=-1).view(np.uint16)
    return {
        "jpeg": encoded(color, "JPEG", quality=90),
        "progressive": encoded(color, "JPEG", progressive=True),
        "subsampled": encoded(picture(3, 64, 49), "JPEG", subsampling=2),
        "grey jpeg": encoded(grey, "JPEG"),
        "cmyk": encoded(color, "JPEG", mode="CMYK"),
        "png": encoded(color),
        "grey png": encoded(grey),
        "rgba": encoded(color, mode="RGBA"),
        "grey and alpha": encoded(grey, mode="LA"),
        "palette": encoded(color, mode="P"),
        "16 bits": encoded_deep(deep[..., 0]),
        "of the model's size": encoded(picture(4, SIZE, SIZE)),
        "on its side": photo(color, 6),
    }


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, kind, content):
    """The bytes of a PNG file; `content` is what its pixels are compressed from."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(content, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def encoded_deep(pixels):
    """A grey PNG of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(pixels.shape[1], pixels.shape[0], 16, 0, rows)


@pytest.mark.further_cases
@pytest.mark.parametrize("eval_crop", [0.0, 0.875])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_evaluation_pipeline(tmp_path, channels, eval_crop):
    """Bit for bit, whether the pipeline decodes files as they come or keeps what is decoded in memory."""
    images = of_every_kind()
    paths = [tmp_path / f"{i:02}" for i in range(len(images))]
    for path, content in zip(paths, images.values(), strict=True):
        path.write_bytes(content)
    served = decoder(channels, eval_crop)(tf.constant(list(images.values()))).numpy()
    assert served.shape == (len(images), SIZE, SIZE, channels)
    for limit_mib in (0, 8):
        bad = BadExamples("refuse")
        source = cached(file_source(paths, [0] * len(paths)), channels, limit_mib, 1, bad)
        pipeline = ImagePipeline(source, SIZE, channels, 1, settings(eval_crop=eval_crop), bad)
        expected = np.concatenate([pixels for pixels, _ in pipeline.evaluation_batches(5)])
        for name, one, other in zip(images, served, expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{name}, {limit_mib} MiB")
        assert np.ptp(expected) > 0.5


GOOD = encoded(picture(0))
HUGE = png(30_000, 30_000, 8, 2, b"")
BAD = {
    "it is empty": [b""],
    "it is neither JPEG nor PNG": [b"x", b"This is no image at all, as anyone can see.", encoded(picture(0), "BMP"), b"\xff\xd8"],
    "its header is cut off": [GOOD[:8], GOOD[:23]],
    "its header is damaged": [b"\xff\xd8\xff", encoded(picture(0), "JPEG")[:50]],
    "it cannot be decoded": [GOOD[:24], GOOD[:-30], encoded(picture(0, 200, 40), "JPEG")[:-700], encoded(picture(0, 1, 9))],
    "it has 30000 x 30000 pixels, and at most 10000 are decoded": [HUGE],
    "it has 4294967295 x 4294967295 pixels, and at most 10000 are decoded": [png(2**32 - 1, 2**32 - 1, 8, 2, b"")],
    "it has 101 x 100 pixels, and at most 10000 are decoded": [
        encoded(picture(0, 101, 100)),
        encoded(picture(0, 101, 100), "JPEG"),
    ],
}


@pytest.mark.further_cases
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(orientation):
    """Whatever orientation their EXIF data give, as if Pillow had turned them; in training too, with random crops."""
    file = photo(picture(1, 31, 45), orientation, subsampling=0)
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(file)))
    train = functools.partial(training_image, seed=tf.constant([1, 2]), size=SIZE, channels=3, data=settings(crop="inception"))
    np.testing.assert_array_equal(*(train(tf.constant(content)) for content in (file, encoded(np.asarray(upright)))))
    for eval_crop in (0.0, 0.875):
        served, expected = decoder(3, eval_crop)(tf.constant([file, encoded(np.asarray(upright))]))
        np.testing.assert_array_equal(served, expected)


LARGE = encoded(picture(0, 200, 240), "JPEG")
PROGRESSIVE = encoded(picture(0, 200, 240), "JPEG", progressive=True)
MIDDLE = len(LARGE) // 2
DAMAGED = {
    "cut off": LARGE[:-700],
    "progressive, cut off": PROGRESSIVE[:-700],
    "without the marker at its end": LARGE[:-2],
    "without half of that marker": LARGE[:-1],
    "cut off, then zeros": LARGE[:-700] + bytes(700),
    "on its side, cut off": photo(picture(0, 200, 240), 6)[:-700],
}
ANSWERED = {  # the first two since cameras do so, the others since TensorFlow does not say what libjpeg warns of
    "data after the end": LARGE + b"data of the camera" * 10,
    "a second image after the end": LARGE + GOOD,
    "a part cut out": LARGE[:MIDDLE] + LARGE[MIDDLE + 300 :],
    "a byte changed": LARGE[:MIDDLE] + bytes([LARGE[MIDDLE] ^ 1]) + LARGE[MIDDLE + 1 :],
}


def test_training_decodes_what_is_served():
    """Files of every kind are taken or refused alike, by evaluation, of boxes at the top, in training, and by exported models."""
    decoded = {**of_every_kind(), **ANSWERED}
    others = {file_format: encoded(picture(0), file_format) for file_format in ("GIF", "TIFF", "WEBP")}
    bad = {f"{problem} {i}": file for problem in BAD if "at most" not in problem for i, file in enumerate(BAD[problem])}
    refused = {**others, **bad, **DAMAGED, "many scans": with_scans(101)}
    serve = decoder(3, 0.0, 2**25)
    augmented = settings(crop="inception", min_area=0.05)
    decoders = {
        "evaluation": lambda file: decode_crop(file, 3, whole),
        "box": lambda file: decode_crop(file, 3, lambda _: tf.constant([0, 0, 4, 4])),
        "training": tf.function(lambda file: training_image(file, tf.constant([1, 2]), SIZE, 3, augmented)),
        "export": lambda file: serve(file[tf.newaxis]),
    }

    def is_taken(decode, file):
        try:
            decode(tf.constant(file))
        except tf.errors.InvalidArgumentError:
            return False
        return True

    for kind, decode in decoders.items():
        assert {name: is_taken(decode, file) for name, file in decoded.items()} == dict.fromkeys(decoded, True), kind
        assert {name: is_taken(decode, file) for name, file in refused.items()} == dict.fromkeys(refused, False), kind
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[0\]: it has more than 100 scans"):
        serve([refused["many scans"]])


@pytest.mark.further_cases
@pytest.mark.parametrize("problem", BAD)
def test_bad_images(problem):
    """Named by their place and reason, wherever they stand."""
    for image in BAD[problem]:
        for place in (0, 2):
            batch = [GOOD] * 3
            batch[place] = image
            with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(f"[image_bytes[{place}]: {problem}]")):
                decoder()(tf.constant(batch))


def test_several_bad_images():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[0\]: it is empty; image_bytes\[2\]: it is neither"):
        decoder()(tf.constant([b"", GOOD, b"x"]))


def test_up_to_the_limit():
    """As many pixels as are allowed, and a request without any image."""
    assert decoder()(tf.constant([encoded(picture(0, 100, 100))])).shape == (1, SIZE, SIZE, 3)
    assert decoder()(tf.constant([], tf.string)).shape == (0, SIZE, SIZE, 3)


MEMORY = """
import functools, resource, sys
import tensorflow as tf
from vision.serving import decode_request

decode = functools.partial(decode_request, size=8, channels=3, eval_crop=0.0, max_pixels=2**20)
decode = tf.function(decode, input_signature=[tf.TensorSpec([None], tf.string)])
image = open(sys.argv[1], "rb").read()
small = open(sys.argv[2], "rb").read()
decode(tf.constant([small]))
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 600 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    decode(tf.constant([image] * 16))
except tf.errors.InvalidArgumentError as error:
    print("refused" if "30000 x 30000" in error.message else error.message)
print(decode(tf.constant([small])).shape)
"""


@pytest.mark.further
@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of the process from /proc")
def test_memory_is_bounded(tmp_path):
    """Sixteen pictures of 30,000 pixels a side, 2.7 GB each in memory, in a process that may take 0.6 GB more than it has."""
    (tmp_path / "huge.png").write_bytes(HUGE)
    (tmp_path / "small.png").write_bytes(GOOD)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "huge.png"), str(tmp_path / "small.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["refused", "(1, 8, 8, 3)"]
