"""Sizes of images and patches in pixels: an int for a square, or a pair (height, width)."""


def sides(size):
    """(height, width) of a size."""
    return tuple(size) if isinstance(size, (list, tuple)) else (size, size)


def plain_size(size):
    """A size as settings keep it: an int for a square, otherwise a tuple; anything else is returned as it is."""
    if isinstance(size, (list, tuple)) and len(size) == 2:
        height, width = size
        return height if type(height) is type(width) and height == width else (height, width)
    return size


def check_size(setting, size):
    """Refuses anything but a positive int, or a list or tuple of two of them; returns its `plain_size`.

    Raises:
      ValueError: naming the setting, its value and what is allowed.
    """
    # widenet imports TensorFlow, and vision then at once its layers, which need this module whole.
    from widenet.checks import check_count, refuse

    if isinstance(size, (list, tuple)):
        try:
            for side in size:
                check_count(setting, side)
            is_pair = len(size) == 2
        except ValueError:
            is_pair = False
        if not is_pair:
            refuse(setting, size, "an integer of at least 1, or a pair of them, (height, width)")
    else:
        check_count(setting, size, why=", or a pair of them, (height, width)")
    return plain_size(size)


def patch_grid(image_size, patch_size):
    """(rows, columns) of whole patches in an image."""
    return tuple(side // patch for side, patch in zip(sides(image_size), sides(patch_size), strict=True))
