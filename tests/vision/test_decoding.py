"""Decoding against Pillow, boxes against their bounds and by hand."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf
from scipy import stats

from tests.vision.pictures import encoded, photo, picture, with_scans
from vision.decoding import (
    MAX_SCANS,
    as_jpeg_or_png,
    central_box,
    decode_crop,
    has_too_many_scans,
    image_problem,
    inception_box,
    jpeg_orientation,
    or_else,
    read_file,
    whole,
)

COLOR = picture(0, height=37, width=50)


def pillow(file, mode):
    pixels = np.asarray(PIL.Image.open(io.BytesIO(file)).convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def decoded(file, channels, choose_box=whole):
    pixels = decode_crop(as_jpeg_or_png(tf.constant(file)), channels, choose_box)
    assert pixels.dtype == tf.uint8
    return pixels.numpy()


FILES = {
    "jpeg": encoded(COLOR, "JPEG", quality=75),
    "jpeg of full color resolution": encoded(COLOR, "JPEG", quality=95, subsampling=0),
    "progressive jpeg": encoded(COLOR, "JPEG", progressive=True),
    "cmyk jpeg": encoded(COLOR, "JPEG", mode="CMYK"),
    "grey jpeg": encoded(COLOR, "JPEG", mode="L"),
    "png": encoded(COLOR),
    "grey png": encoded(COLOR, mode="L"),
    "black and white png": encoded(COLOR, mode="1"),
    "palette png": encoded(COLOR, mode="P"),
    "transparent png": encoded(np.dstack([COLOR, picture(1, 37, 50, 1)])),
    "transparent palette png": encoded(COLOR, mode="P", transparency=3),
    "grey transparent png": encoded(COLOR, mode="LA"),
    "gif": encoded(COLOR, "GIF"),
    "animated gif": encoded(COLOR, "GIF", save_all=True, append_images=[PIL.Image.fromarray(picture(1, 37, 50))]),
    "bmp": encoded(COLOR, "BMP"),
    "palette bmp": encoded(COLOR, "BMP", mode="P"),
    "transparent bmp": encoded(COLOR, "BMP", mode="RGBA"),
    "webp": encoded(COLOR, "WEBP"),
    "transparent webp": encoded(np.dstack([COLOR, picture(1, 37, 50, 1)]), "WEBP", lossless=True, exact=True),
    "tiff": encoded(COLOR, "TIFF", compression="tiff_lzw"),
    "grey tiff": encoded(COLOR, "TIFF", mode="L"),
    "cmyk tiff": encoded(COLOR, "TIFF", mode="CMYK"),
}


@pytest.mark.parametrize("name", FILES)
def test_color(name):
    """Exactly Pillow's pixels: TensorFlow and Pillow use the same libjpeg, here with the same method."""
    np.testing.assert_array_equal(decoded(FILES[name], 3), pillow(FILES[name], "RGB"))


@pytest.mark.parametrize("name", FILES)
def test_grey(name):
    """Exactly Pillow's grey, but for JPEG in color: its own grey is finer than that of colors which were clipped to 0..255."""
    found, expected = decoded(FILES[name], 1).astype(int), pillow(pillow_rgb(name), "L").astype(int)
    assert found.shape == (37, 50, 1)
    if name in ("jpeg", "jpeg of full color resolution", "progressive jpeg"):
        assert np.abs(found - expected).mean() < 0.5
        assert np.abs(found - expected).max() <= 16
    else:
        np.testing.assert_array_equal(found, expected)


def pillow_rgb(name):
    """The file as PNG without transparency: Pillow makes grey of some formats in a way of its own."""
    return encoded(pillow(FILES[name], "RGB"))


def test_higher_half_of_16_bits():
    values = np.array([[0, 255, 256, 511], [32768, 65279, 65280, 65535]], np.uint16)
    file = io.BytesIO()
    PIL.Image.fromarray(values).save(file, "PNG")
    np.testing.assert_array_equal(decoded(file.getvalue(), 1)[..., 0], values >> 8)
    np.testing.assert_array_equal(decoded(file.getvalue(), 3)[..., 2], values >> 8)


@pytest.mark.parametrize("box", [(5, 7, 21, 19), (0, 0, 37, 50), (36, 49, 1, 1), (8, 16, 16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["jpeg", "jpeg of full color resolution", "cmyk jpeg", "png", "gif"])
def test_crop(name, channels, box):
    """The box of the whole image. At its edges the coarser color of most JPEGs is interpolated without what lies outside."""
    top, left, height, width = box
    found = decoded(FILES[name], channels, lambda _: tf.constant(box)).astype(int)
    expected = decoded(FILES[name], channels)[top : top + height, left : left + width].astype(int)
    if name == "jpeg" and channels == 3:
        np.testing.assert_array_equal(found[1:-1, 1:-1], expected[1:-1, 1:-1])
        assert np.abs(found - expected).max() <= 16
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("byte_order", ["MM", "II"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, byte_order):
    """Pillow's upright pixels; a box is one of the upright image, whose shape it is chosen by."""
    file = photo(COLOR, orientation, byte_order, subsampling=0)
    expected = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(file))))
    np.testing.assert_array_equal(decoded(file, 3), expected)
    shapes = []

    def box(shape):
        shapes.append(tuple(shape.numpy()))
        return tf.constant([5, 7, 21, 19])

    np.testing.assert_array_equal(decoded(file, 3, box), expected[5:26, 7:26])
    assert shapes == [expected.shape]


def test_orientation_of_other_formats():
    """WebP and TIFF images are upright, too."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for file_format, options in (("WEBP", dict(lossless=True)), ("TIFF", {})):
        file = encoded(COLOR, file_format, exif=exif.tobytes(), **options)
        np.testing.assert_array_equal(decoded(file, 3), np.rot90(COLOR, -1), err_msg=file_format)


def test_where_exif_data_are_found():
    """Directly after the marker of the file, and after other segments; not after a scan."""
    orientation_of = tf.function(jpeg_orientation, input_signature=[tf.TensorSpec([], tf.string)])
    file = photo(COLOR, 6)
    assert file[2:4] == b"\xff\xe0"  # JFIF
    start, size = file.index(b"\xff\xe1"), int.from_bytes(file[4:6], "big") + 2
    assert start == 2 + size
    without_jfif, profile = file[:2] + file[start:], b"\xff\xe2\xff\xff" + bytes(65533)
    assert [int(orientation_of(x)) for x in (file, without_jfif, file[:2] + 2 * profile + file[2:])] == [6, 6, 6]
    assert int(orientation_of(encoded(COLOR, "JPEG") + file[start:])) == 1


def test_damaged_exif_data():
    """Pixels are taken as they are: cut off anywhere, values out of range, a directory elsewhere, padding without an end."""
    orientation_of = tf.function(jpeg_orientation, input_signature=[tf.TensorSpec([], tf.string)])
    file = photo(COLOR, 6)
    tag = file.index(b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06")
    for end in range(2, tag + 9):
        assert int(orientation_of(file[:end])) == 1, end
    tiff = file.index(b"MM\x00\x2a")
    for damaged in (
        file[: tag + 8] + b"\0\x09" + file[tag + 10 :],
        file[: tag + 2] + b"\0\x02" + file[tag + 4 :],
        file[: tiff + 4] + b"\xff\xff\xff\xff" + file[tiff + 8 :],
        file[:2] + b"\xff" * 100_000,
    ):
        assert int(orientation_of(damaged)) == 1


def test_number_of_scans():
    """Many are decoded, too many are refused by name before any is decoded."""
    decoded(with_scans(MAX_SCANS - 10), 3)
    file = with_scans(MAX_SCANS + 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="it has more than 100 scans"):
        decoded(file, 3)
    assert image_problem(tf.identity, file, 3) == "it has more than 100 scans"


def test_scans_that_are_not_decoded():
    """A file whose one scan has all colors may have any bytes after it; libjpeg reads no other scan of it."""
    frame, scan = b"\xff\xc0\0\x11\x08\0\0\0\0\x03" + bytes(9), b"\xff\xda\0\x0c\x03" + bytes(9)
    scans_of_one_color, shape = (MAX_SCANS + 1) * b"\xff\xda\0\x08\x01", tf.constant([2**15, 2**15, 3])
    assert not has_too_many_scans(tf.constant(b"\xff\xd8" + frame + scan + scans_of_one_color), shape)
    for header in (frame, frame.replace(b"\xc0", b"\xc2"), b"\xff\x01" + frame):
        assert has_too_many_scans(tf.constant(b"\xff\xd8" + header + scans_of_one_color), shape)
    assert has_too_many_scans(tf.constant(b"\xff\xd8" + frame.replace(b"\xc0", b"\xc2") + scan + scans_of_one_color), shape)


@pytest.mark.further_cases
@pytest.mark.parametrize("name", ["png", "jpeg", "palette bmp", "webp"])
def test_content_counts_not_the_ending(tmp_path, name):
    path = tmp_path / "picture.JPG"
    path.write_bytes(FILES[name])
    read = tf.function(lambda path: decode_crop(read_file(path), 3, whole))
    np.testing.assert_array_equal(read(tf.constant(str(path))), pillow(FILES[name], "RGB"))


def test_16_bit_tiff():
    """The higher half of each value, as of PNG; 32 bits have no known range."""
    values = np.array([[0, 255, 256, 511], [32768, 65279, 65280, 65535]], np.uint16)
    for byte_order in ("<u2", ">u2"):
        file = io.BytesIO()
        PIL.Image.fromarray(values.astype(byte_order)).save(file, "TIFF")
        np.testing.assert_array_equal(decoded(file.getvalue(), 1)[..., 0], values >> 8)
    file = io.BytesIO()
    PIL.Image.fromarray(values.astype(np.float32)).save(file, "TIFF")
    assert "32 bits" in image_problem(as_jpeg_or_png, file.getvalue(), 1)


def test_crop_of_pixels():
    """Of any dtype, and left as they are where all are taken, static shape and all."""
    pixels = tf.constant(COLOR / 255, tf.float32)
    found = decode_crop(pixels, 3, lambda _: tf.constant([1, 2, 3, 4]))
    np.testing.assert_array_equal(found, pixels[1:4, 2:6])
    assert tf.function(lambda x: decode_crop(x, 3, whole)).get_concrete_function(pixels).output_shapes == COLOR.shape


BAD = {
    "truncated": (FILES["jpeg"][: len(FILES["jpeg"]) // 2], "cannot be decoded"),
    "truncated png": (FILES["png"][: len(FILES["png"]) // 2], "cannot be decoded"),
    "truncated webp": (FILES["webp"][: len(FILES["webp"]) // 2], "it cannot be decoded (Pillow cannot read it"),
    "text": (b"This is no image.", "cannot be decoded"),
    "empty": (b"", "it is empty"),
    "one pixel": (encoded(picture(0, 1, 1)), "it has 1 x 1 pixels, and each side must have at least 2"),
    "one row": (encoded(picture(0, 1, 9), "JPEG"), "it has 1 x 9 pixels, and each side must have at least 2"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("channels", [1, 3])
def test_bad_bytes(name, channels):
    """Refused, with a reason that does not name TensorFlow's operations."""
    file, reason = BAD[name]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(file, channels)
    said = image_problem(tf.identity, file, channels)
    assert reason in said
    assert not any(noise in said for noise in ("{{", "[Op", "\n"))


def test_file_that_is_gone(tmp_path):
    said = image_problem(tf.io.read_file, str(tmp_path / "gone.jpg"), 3)
    assert said.startswith("it cannot be read (")
    assert "No such file" in said


def test_or_else():
    """In a graph, and outside: what an operation gives, or the other value where it fails."""

    def reciprocal(x):
        return or_else(lambda: tf.debugging.check_numerics(1 / x, "not finite"), tf.constant(-1.0))

    for function in (reciprocal, tf.function(reciprocal)):
        for x, expected in ((4.0, (0.25, True)), (0.0, (-1.0, False))):
            assert tuple(part.numpy() for part in function(tf.constant(x))) == expected


class TestInceptionBox:
    @staticmethod
    def boxes(height, width, smallest, largest=1.0, draws=1000):
        """int [draws, 4]: top, left, height, width."""
        shape = tf.constant([height, width, 3])
        drawn = tf.data.Dataset.range(draws).map(lambda i: inception_box(shape, tf.stack([i, 7]), smallest, largest))
        return drawn.batch(draws).get_single_element().numpy()

    @pytest.mark.parametrize("shape", [(400, 400), (375, 500), (640, 480), (500, 300)])
    def test_bounds(self, shape):
        """Inside the image; area and ratio of width to height within theirs, but for the rounding of sides to pixels."""
        top, left, height, width = self.boxes(*shape, 0.08, draws=500).T
        assert top.min() >= 0
        assert left.min() >= 0
        assert (top + height).max() <= shape[0]
        assert (left + width).max() <= shape[1]
        lower_area, upper_area = ((height + side) * (width + side) / (shape[0] * shape[1]) for side in (-0.5, 0.5))
        assert upper_area.min() >= 0.08
        assert lower_area.max() <= 1
        assert ((width + 0.5) / (height - 0.5)).min() >= 3 / 4
        assert ((width - 0.5) / (height + 0.5)).max() <= 4 / 3

    @pytest.mark.parametrize(
        "shape, largest, that_fits", [((1000, 1000), 1.0, 1.0), ((1000, 750), 0.5, 0.5), ((1000, 500), 1.0, 2 / 3)]
    )
    def test_areas_are_uniform(self, shape, largest, that_fits):
        """Kolmogorov-Smirnov at fixed seeds. Across an image of 1000 x 500 the largest box of a ratio of 3/4 is 667 x 500."""
        *_, height, width = self.boxes(*shape, 0.05, largest).T
        areas = height * width / (shape[0] * shape[1])
        assert stats.kstest(areas, stats.uniform(0.05, that_fits - 0.05).cdf).pvalue > 0.01

    def test_ratios_and_places_are_uniform(self):
        """Where every box fits: log ratio, and where the box lies in the room that it has."""
        top, left, height, width = self.boxes(2000, 2000, 0.05, 0.5).T
        ratios = np.log(width / height) / np.log(4 / 3)
        assert stats.kstest(ratios, stats.uniform(-1, 2).cdf).pvalue > 0.01
        for place, room in ((top, 2000 - height), (left, 2000 - width)):
            assert stats.kstest(place / room, stats.uniform(0, 1).cdf).pvalue > 0.01
        assert abs(np.corrcoef(top / (2000 - height), left / (2000 - width))[0, 1]) < 0.1

    @pytest.mark.parametrize("shape", [(1000, 2), (2, 1000), (2, 2), (3, 2)])
    def test_extreme_shapes(self, shape):
        """Never empty, never outside; a strip from which no such box can be cut is taken whole."""
        top, left, height, width = self.boxes(*shape, 0.05, draws=200).T
        assert height.min() >= 1
        assert width.min() >= 1
        assert (top + height).max() <= shape[0]
        assert (left + width).max() <= shape[1]
        if 1000 in shape:
            assert {*zip(height, width, strict=True)} == {shape}

    def test_all_of_a_square(self):
        assert self.boxes(50, 50, 1.0, draws=5).tolist() == [[0, 0, 50, 50]] * 5


@pytest.mark.parametrize(
    "shape, share, expected",
    [
        ((256, 256), 0.875, [16, 16, 224, 224]),
        ((375, 500), 1.0, [0, 62, 375, 375]),
        ((500, 375), 0.875, [86, 23, 328, 328]),  # 0.875 * 375 = 328.125
        ((1000, 2), 0.875, [499, 0, 2, 2]),  # 1.75 rounded
        ((2, 2), 0.1, [0, 0, 1, 1]),  # at least a pixel
    ],
)
def test_central_box(shape, share, expected):
    assert central_box(tf.constant([*shape, 3]), share).numpy().tolist() == expected
