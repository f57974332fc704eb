"""What tests of image data share: pictures, their encoded bytes, and sources of every kind that hold them."""

import hashlib
import io
import re

import numpy as np
import PIL.Image
import tensorflow as tf
from ml_collections import ConfigDict

from vision.data import EncodedSource, file_source
from vision.preprocessing import data_settings

CLASSES = 3


def picture(number, height=10, width=12, channels=3):
    """uint8 pixels that differ from picture to picture and change smoothly, as photographs do."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [PIL.Image.fromarray(coarse[..., i]).resize((width, height), PIL.Image.BILINEAR) for i in range(channels)]
    return np.stack(planes, axis=-1)


def encoded(pixels, file_format="PNG", mode=None, **options):
    """The bytes of a file with these pixels, as Pillow writes it; `mode` is Pillow's, such as CMYK."""
    image = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, file_format, **options)
    return file.getvalue()


def photo(pixels, orientation, byte_order="MM", **options):
    """A JPEG as cameras write it: these pixels as they are stored, and EXIF data with their orientation among other things."""
    exif = PIL.Image.Exif()
    exif.endian = {"MM": ">", "II": "<"}[byte_order]
    exif.update({0x010F: "a maker", 0x0112: orientation, 0x0132: "2020:01:01 00:00:00"})
    return encoded(pixels, "JPEG", exif=exif.tobytes(), **options)


def with_scans(repeated, side=2000):
    """A progressive JPEG of that many pixels a side, one of whose ten scans comes again `repeated` times."""
    file = encoded(np.zeros((side, side, 3), np.uint8), "JPEG", progressive=True)
    start = file.index(b"\xff\xda\x00\x08")
    end = start + 10 + re.search(rb"\xff[^\x00\xd0-\xd7]", file[start + 10 :]).start()
    return file[:end] + repeated * file[start:end] + file[end:]


def write_files(folder, examples, file_format="PNG", **size):
    """Paths of that many pictures."""
    paths = [folder / f"{number:03}.{file_format.lower()}" for number in range(examples)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(picture(number, **size), file_format))
    return paths


def numbered_files(folder, examples, **size):
    """A FileSource: picture i of class i % CLASSES."""
    return file_source(write_files(folder, examples, **size), [i % CLASSES for i in range(examples)])


def record(number, label=None, image=None):
    """A serialized record: four digits of the label, then the image's bytes."""
    label = number % CLASSES if label is None else label
    return f"{label:04}".encode() + (encoded(picture(number)) if image is None else image)


def parse(serialized):
    """(image, label) of `record`."""
    return tf.strings.substr(serialized, 4, -1), tf.strings.to_number(tf.strings.substr(serialized, 0, 4), tf.int64)


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for serialized in records:
            writer.write(serialized)
    return str(path)


def numbered_records(folder, sizes, buffer):
    """An EncodedSource of one file for each of `sizes`: picture i of class i % CLASSES."""
    firsts = np.cumsum(sizes) - sizes
    files = [
        (write_records(folder / f"shard-{i}", map(record, range(first, first + size))), 0, size)
        for i, (first, size) in enumerate(zip(firsts.tolist(), sizes, strict=True))
    ]
    return EncodedSource(files, parse, buffer)


def settings(**overrides):
    """A recipe's `data`."""
    return ConfigDict(data_settings(**overrides))


def digests(dataset, steps):
    """SHA-256 of the images and of the labels of each of the first batches."""
    return [tuple(hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in batch) for batch in dataset.take(steps)]
