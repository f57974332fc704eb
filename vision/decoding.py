"""Decoding and cropping of images, as TensorFlow operations."""

import functools
import io
import math

import numpy as np
import tensorflow as tf

from official.data.bad_examples import op_message
from official.data.batches import is_for_elsewhere

# Images with a shorter side are bad examples.
SMALLEST_SIDE = 2
# The first bytes of every PNG file.
PNG = b"\x89PNG\r\n\x1a\n"
# The first four bytes of GIF, TIFF in both byte orders, and WebP; BMP has two.
OTHER_FORMATS = ("GIF8", "II*\0", "MM\0*", "RIFF")
# A progressive JPEG has about ten scans. libjpeg goes over all pixels again for each scan, even for an empty one of a few bytes.
MAX_SCANS = 100
# Scans are only counted if the image's values (pixels times colors) times the file's bytes are more. Otherwise they take a second
# at most, however many they are.
FEW_SCANS = 2.0**37
END_OF_JPEG = b"\xff\xd9"
# Positions, sizes and content of three parts of most files without EXIF data: a JFIF segment of 18 bytes comes first, then a
# quantization table, and nothing follows the end.
PLACES_OF_PLAIN, PLAIN = ([2, 20, -2], [4, 2, 2]), [b"\xff\xe0\0\x10", b"\xff\xdb", END_OF_JPEG]
TOO_MANY_SCANS = f"it has more than {MAX_SCANS} scans"
# The beginning of a JPEG scan of one color component, the only kind that can be empty but for a few bytes (ITU-T T.81, G.1).
SCAN = int.from_bytes(b"\xff\xda\x00\x08", "little")
# Second bytes of JPEG markers (ITU-T T.81, table B.1). After an application segment and before a scan there may be tables.
APPLICATIONS, COMMENT, PADDING, SCAN_MARKER = tuple(range(0xE0, 0xF0)), 0xFE, 0xFF, 0xDA
TABLES = (0xC4, 0xDB, 0xDD)
SEQUENTIAL = (0xC0, 0xC1)
EXIF = b"Exif\0\0"
MAX_SEGMENTS = 64  # of a JPEG, that are searched
ORIENTATION_TAG = 0x0112  # of EXIF
UPRIGHT = 1  # EXIF's orientation of pixels that are stored as they are seen
# EXIF's orientations in three steps from stored to upright pixels: exchange the axes, then mirror.
EXCHANGED, MIRRORED_LEFT_RIGHT, MIRRORED_TOP_BOTTOM = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
# Largest ratio of width to height that inception_box draws; the smallest is its inverse.
WIDEST_BOX = 4 / 3
# Weights of red, green and blue in grey (ITU-R BT.601, as in JPEG), in units of 2**-16.
GREY_WEIGHTS = (19595, 38470, 7471)


def decode_crop(image, channels, choose_box):
    """A box of an upright image; of a JPEG file only that box is decoded, and turned as its EXIF orientation says.

    Args:
      image: string [] (JPEG or PNG), or the pixels [height, width, channels] of any dtype.
      channels: 1 or 3, of the result. Images are converted between grey, RGB and CMYK; transparency is dropped, and 16-bit
        values keep their higher 8 bits.
      choose_box: function of an int32 shape [3] to the int32 box [4] (top, left, height, width).

    Returns:
      The box, [height, width, channels], uint8 or the dtype of `image`.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are not a JPEG or PNG image, the image is cut off, a JPEG has more than MAX_SCANS
        scans, or a side has fewer than SMALLEST_SIDE pixels.
    """

    def checked_box(shape):
        tf.debugging.assert_greater_equal(tf.reduce_min(shape[:2]), SMALLEST_SIDE, "too few pixels along a side")
        return choose_box(shape)

    def crop(pixels):
        top, left, height, width = tf.unstack(checked_box(tf.shape(pixels)))
        # A slice would lose the static shape.
        return pixels if choose_box is whole else pixels[top : top + height, left : left + width]

    def jpeg():
        shape = tf.io.extract_jpeg_shape(image)

        def decode(box):
            decode = functools.partial(tf.io.decode_and_crop_jpeg, image, box, dct_method="INTEGER_ACCURATE")
            if channels == 3:
                return decode(channels=3)
            # The decoder does not convert CMYK, which has four channels, to grey.
            return tf.cond(shape[2] == 4, lambda: to_grey(decode(channels=3)), lambda: decode(channels=1))

        def plain():
            return decode(checked_box(shape))

        def not_plain():
            check = tf.debugging.Assert(~has_too_many_scans(image, shape), [TOO_MANY_SCANS])
            if choose_box is not whole:
                with tf.control_dependencies([check]):
                    check = _read_to_end(image)
            with tf.control_dependencies([check]):
                orientation = tf.identity(jpeg_orientation(image))
            upright_shape = tf.where(_is_one_of(orientation, EXCHANGED), tf.gather(shape, [1, 0, 2]), shape)
            box = _stored_box(checked_box(upright_shape), upright_shape, orientation)
            return _upright(decode(box), orientation)

        return tf.cond(_is_plain(image, shape), plain, not_plain)

    def other():
        is_png = tf.equal(tf.strings.substr(image, 0, len(PNG)), PNG)
        with tf.control_dependencies([tf.debugging.Assert(is_png, ["it is neither JPEG nor PNG"])]):
            pixels = crop(tf.io.decode_png(image, channels=3))
        return pixels if channels == 3 else to_grey(pixels)

    return crop(image) if image.dtype != tf.string else tf.cond(tf.io.is_jpeg(image), jpeg, other)


def _is_plain(image, shape):
    """Whether a JPEG, string [], of a shape, int [3], is upright, not cut off, and not slow to decode by its many scans: bool [].

    False also for some such files: this is a quick look at a few bytes.
    """
    with tf.control_dependencies([shape]):  # a file that has one has all these bytes
        parts = tf.strings.substr(image, *PLACES_OF_PLAIN)
    return tf.reduce_all(tf.equal(parts, PLAIN)) & _is_small(image, shape)


def _is_small(image, shape):
    return tf.reduce_prod(tf.cast(shape, tf.float32)) * tf.cast(tf.strings.length(image), tf.float32) <= FEW_SCANS


def has_too_many_scans(image, shape):
    """Whether a JPEG, string [], of a shape, int [3], has more scans of one color component than MAX_SCANS: bool []."""

    def count():
        length, scans = tf.strings.length(image), 0
        for start in range(4):  # far faster than tf.strings.split
            words = tf.io.decode_raw(tf.strings.substr(image, start, (length - start) // 4 * 4), tf.int32)
            scans += tf.math.count_nonzero(words == SCAN)
        return scans > MAX_SCANS

    def of_large():
        # Counting takes a tenth of the time of decoding.
        return tf.cond(_has_one_scan(image), lambda: tf.constant(False), count)

    return tf.cond(_is_small(image, shape), lambda: tf.constant(False), of_large)


def _has_one_scan(image):
    """Whether a JPEG is sequential and one scan has all its colors, so that libjpeg reads no other: string [] to bool [].

    False also for an unusual header.
    """

    def is_before_scan(segment):
        return _is_one_of(segment[1], (*APPLICATIONS, COMMENT, *TABLES))

    position, frame = _search(image, 2, is_before_scan)
    _, scan = _search(image, position + _size(frame), is_before_scan)
    # The tenth byte of a frame and the fifth of a scan are the number of colors.
    is_one = (scan[0] == 0xFF) & (scan[1] == SCAN_MARKER) & (scan[4] == frame[9])
    return (frame[0] == 0xFF) & _is_one_of(frame[1], SEQUENTIAL) & is_one


def _read_to_end(image):
    """Raises InvalidArgumentError for a JPEG, string [], that is cut off. To decode a box above the cut would not raise it."""
    is_whole = tf.equal(tf.strings.substr(image, -2, 2), END_OF_JPEG)
    # Some cameras write other data after the end. At an eighth of its size a file is decoded fast.
    return tf.cond(is_whole, lambda: 0, lambda: tf.size(tf.io.decode_jpeg(image, channels=3, ratio=8)))


def jpeg_orientation(image):
    """The EXIF orientation of a JPEG, string [] to int32 [] from 1 to 8; UPRIGHT without one.

    The EXIF segment is searched among the application segments and comments at the beginning of the file.
    """

    def is_exif(segment):
        return (segment[1] == APPLICATIONS[1]) & tf.reduce_all(segment[4:] == list(EXIF))

    def is_skipped(segment):
        return _is_one_of(segment[1], (*APPLICATIONS, COMMENT)) & ~is_exif(segment)

    position, segment = _search(image, 2, is_skipped)

    def of_exif():
        tiff = tf.minimum(position + 10, tf.strings.length(image))
        return _tiff_orientation(tf.strings.substr(image, tiff, tf.maximum(_size(segment) - 10, 0)))

    return tf.cond((segment[0] == 0xFF) & is_exif(segment), of_exif, lambda: tf.constant(UPRIGHT))


def _search(image, position, is_skipped):
    """The first segment of a JPEG at or after a position that is not skipped, nor padding before a marker.

    Args:
      image: string [].
      position: int32 [].
      is_skipped: function of a segment's first ten bytes, int32 [10], to bool [].

    Returns:
      (position int32 [], first ten bytes int32 [10]: marker, size and content; zeros after the end of the file).
    """

    def at(position):
        return tf.cast(_first_bytes(tf.strings.substr(image, tf.minimum(position, tf.strings.length(image)), 10), 10), tf.int32)

    def searches(_, segment):
        return (segment[0] == 0xFF) & ((segment[1] == PADDING) | is_skipped(segment))

    def skip(position, segment):
        position += tf.where(segment[1] == PADDING, 1, _size(segment))
        return position, at(position)

    position = tf.convert_to_tensor(position)
    return tf.while_loop(searches, skip, (position, at(position)), maximum_iterations=MAX_SEGMENTS)


def _size(segment):
    """Bytes of a segment with its marker, from its first bytes."""
    return 2 + 256 * segment[2] + segment[3]


def _tiff_orientation(tiff):
    """The orientation in the first directory of EXIF data, which are a TIFF file: string [] to int32 []."""
    is_little_endian = tf.equal(tf.strings.substr(tiff, 0, 2), "II")
    length = tf.strings.length(tiff)

    def number(digits):
        """uint8 [..., N] to int32 [...], at most 2**31 - 1."""
        weights = 256 ** np.arange(digits.shape[-1])
        digits = tf.cast(digits, tf.int64)
        found = tf.where(is_little_endian, tf.reduce_sum(digits * weights, -1), tf.reduce_sum(digits * weights[::-1], -1))
        return tf.cast(tf.minimum(found, 2**31 - 1), tf.int32)

    def number_at(position, size):
        return number(_first_bytes(tf.strings.substr(tiff, tf.minimum(position, length), size), size))

    directory = tf.minimum(number_at(4, 4), length)
    entries = tf.strings.substr(tiff, tf.minimum(directory + 2, length), 12 * number_at(directory, 2))
    entries = tf.strings.substr(entries, 0, tf.strings.length(entries) // 12 * 12)
    entries = tf.reshape(tf.io.decode_raw(entries, tf.uint8), [-1, 12])
    # Tag, type (3 is a number of two bytes), count (four bytes) and value.
    is_orientation = (number(entries[:, :2]) == ORIENTATION_TAG) & (number(entries[:, 2:4]) == 3)
    found = tf.concat([tf.boolean_mask(number(entries[:, 8:10]), is_orientation), [UPRIGHT]], axis=0)[0]
    return tf.where((found >= 1) & (found <= 8), found, UPRIGHT)


def _first_bytes(text, size):
    """The first bytes of a string [], uint8 [size]; zeros after its end."""
    padded = tf.strings.substr(tf.strings.join([text, b"\0" * size]), 0, size)
    return tf.ensure_shape(tf.io.decode_raw(padded, tf.uint8), [size])


def _is_one_of(number, numbers):
    return tf.reduce_any(number == tf.constant(numbers))


def _stored_box(box, shape, orientation):
    """The box of stored pixels that is `box` in the upright image of that shape."""
    top, left, height, width = tf.unstack(box)
    top = tf.where(_is_one_of(orientation, MIRRORED_TOP_BOTTOM), shape[0] - top - height, top)
    left = tf.where(_is_one_of(orientation, MIRRORED_LEFT_RIGHT), shape[1] - left - width, left)
    is_exchanged = _is_one_of(orientation, EXCHANGED)
    return tf.where(is_exchanged, tf.stack([left, top, width, height]), tf.stack([top, left, height, width]))


def _upright(pixels, orientation):
    """Stored pixels [height, width, channels], or a box of them, as they are seen."""
    pixels = tf.cond(_is_one_of(orientation, EXCHANGED), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    for axis, orientations in ((1, MIRRORED_LEFT_RIGHT), (0, MIRRORED_TOP_BOTTOM)):
        mirrored = functools.partial(tf.reverse, pixels, [axis])
        pixels = tf.cond(_is_one_of(orientation, orientations), mirrored, functools.partial(tf.identity, pixels))
    return pixels


def read_file(path):
    """The bytes of an image file, as of `as_jpeg_or_png`: string [] to string []."""
    return as_jpeg_or_png(tf.io.read_file(path))


def as_jpeg_or_png(encoded):
    """Makes a PNG, with Pillow, of a BMP, GIF (its first frame), TIFF or WebP image; leaves all other bytes as they are.

    An exported model cannot do this, since it needs Python, nor can a data set that runs in another process.

    Args:
      encoded: string [].

    Returns:
      string [].
    """

    if is_for_elsewhere():
        return tf.identity(encoded)

    def other():
        return tf.cond(_is_other_format(encoded), lambda: _by_pillow(encoded), lambda: tf.identity(encoded))

    return tf.cond(tf.io.is_jpeg(encoded), lambda: tf.identity(encoded), other)  # the other test takes longer


def _is_other_format(encoded):
    is_other = tf.reduce_any(tf.equal(tf.strings.substr(encoded, 0, 4), OTHER_FORMATS))
    return is_other | tf.equal(tf.strings.substr(encoded, 0, 2), "BM")


def _by_pillow(encoded):
    return tf.ensure_shape(tf.numpy_function(_png_by_pillow, [encoded], tf.string), [])


def _png_by_pillow(encoded):
    """The bytes of a PNG of an image's upright first frame; `encoded` itself if Pillow cannot read it."""
    from PIL import Image, ImageOps  # for files of few data sets

    encoded = np.asarray(encoded, object).item()  # bytes, which outside of graphs come in an array
    try:
        with Image.open(io.BytesIO(encoded)) as file:
            image = ImageOps.exif_transpose(file)
        if image.mode in ("I", "F"):
            return encoded  # the range of 32-bit values is unknown
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        written = io.BytesIO()
        image.convert("RGB").save(written, "PNG", compress_level=1)
    except Exception:  # damaged files raise errors of many types; the decoder refuses the bytes by name
        return encoded
    return written.getvalue()


def to_grey(pixels):
    """uint8 [height, width, 3] to [height, width, 1]; grey pixels keep their value exactly."""
    weighted = tf.reduce_sum(tf.cast(pixels, tf.int32) * GREY_WEIGHTS, axis=-1, keepdims=True)
    return tf.cast((weighted + 2**15) // 2**16, tf.uint8)


def whole(shape):
    """The box of all pixels."""
    return tf.stack([0, 0, shape[0], shape[1]])


def inception_box(shape, seed, smallest_area, largest_area=1.0, aspect=1.0):
    """A random box, as in the training of Inception (arXiv:1409.4842, section 6).

    Args:
      shape: int32 [3].
      seed: int [2].
      smallest_area, largest_area: the box's area is uniform between these shares of the image's area. The logarithm of its
        aspect ratio is uniform between those of 3/4 and 4/3, or between those for which a box of that area fits. In a long
        image the largest area is reduced to what fits; if even the smallest does not fit, the box is the whole image.
      aspect: width / height that the box is resized to, which counts as the aspect ratio 1.

    Returns:
      int32 [4]: top, left, height, width.
    """
    height, width = tf.unstack(tf.cast(shape[:2], tf.float32))
    relative = width / height / aspect
    # A box of ratio r and share s of the area fits where s * relative <= r <= relative / s.
    largest_area = tf.reduce_min([largest_area, WIDEST_BOX * relative, WIDEST_BOX / relative])
    draws = tf.unstack(tf.random.stateless_uniform([4], seed))
    area = smallest_area + draws[0] * (largest_area - smallest_area)
    narrowest = tf.maximum(tf.math.log(area * relative), -math.log(WIDEST_BOX))
    widest = tf.minimum(tf.math.log(relative / area), math.log(WIDEST_BOX))
    ratio = tf.exp(narrowest + draws[1] * (widest - narrowest))
    pixels = area * height * width
    box_height = tf.clip_by_value(tf.round(tf.sqrt(pixels / (ratio * aspect))), 1, height)
    box_width = tf.clip_by_value(tf.round(tf.sqrt(pixels * (ratio * aspect))), 1, width)
    top, left = tf.floor(draws[2] * (height - box_height + 1)), tf.floor(draws[3] * (width - box_width + 1))
    box = tf.cast(tf.stack([top, left, box_height, box_width]), tf.int32)
    return tf.where(largest_area >= smallest_area, box, whole(shape))


def central_box(shape, share, aspect=1.0):
    """The central box of this aspect ratio, width / height, whose sides are `share` of the largest that fits: int32 [4].

    A share of 224/256, resized to 224 pixels, is the usual "resize the shorter side to 256, then crop the central 224 pixels".
    """
    height, width = tf.unstack(tf.cast(shape[:2], tf.float32))
    largest = tf.stack([tf.minimum(height, width / aspect), tf.minimum(width, height * aspect)])
    sides = tf.maximum(tf.cast(tf.round(share * largest), tf.int32), 1)
    return tf.concat([(shape[:2] - sides) // 2, sides], axis=0)


def or_else(make, otherwise):
    """(make(), True), or (otherwise, False) if an operation of make() fails.

    TensorFlow graphs cannot catch errors, but a tf.data.Dataset can skip elements that raise one.

    Args:
      make: function without arguments that returns a tensor.
      otherwise: a tensor of the same dtype and static shape.
    """
    tried = tf.data.Dataset.from_tensors(0).map(lambda _: (make(), True)).ignore_errors()
    return tried.concatenate(tf.data.Dataset.from_tensors((otherwise, False))).take(1).get_single_element()


def image_problem(read, image, channels):
    """Why an image cannot be read or decoded, a clause; runs eagerly.

    Args:
      read: function of `image` to its encoded bytes.
      image: bytes, as in the source's examples (vision.data).
      channels: 1 or 3.
    """
    try:
        encoded = read(tf.constant(image))
    except tf.errors.OpError as error:
        return f"it cannot be read ({op_message(error)})"
    if not tf.strings.length(encoded):
        return "it is empty"
    if _is_other_format(encoded):
        return "it cannot be decoded (Pillow cannot read it, or its values have 32 bits)"
    try:
        if tf.io.is_jpeg(encoded) and has_too_many_scans(encoded, tf.io.extract_jpeg_shape(encoded)):
            return TOO_MANY_SCANS
        height, width = tf.io.decode_image(encoded, expand_animations=False).shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            return f"it has {height} x {width} pixels, and each side must have at least {SMALLEST_SIDE}"
        decode_crop(encoded, channels, whole)
    except tf.errors.OpError as error:
        return f"it cannot be decoded ({op_message(error)})"
    return "it could not be decoded"  # but it can now: the file was different at the first attempt
