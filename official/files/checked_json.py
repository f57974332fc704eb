"""JSON that others may have written: read with a limit, checked for its shape, refused in one sentence that names the file."""

import json

MAX_BYTES = 1 << 28  # of a file; the token counts of a large vocabulary and the ids of a tokenizer are far below
MAX_DEPTH = 100  # of brackets inside brackets; what walks through a value later may recurse so deep
TOO_DEEP = "it is nested too deeply"
NUMBER = (int, float)
NAMES = {dict: "a JSON object", list: "a JSON array", str: "a string", bool: "true or false", int: "a whole number"}


def read_json(path, kind=dict, keys=None):
    """What a JSON file holds.

    Args:
      path: a pathlib.Path.
      kind, keys: as of `parse_json`.

    Raises:
      ValueError: as `parse_json` and `limited_bytes`.
      OSError: the file does not exist, or cannot be read.
    """
    return parse_json(limited_bytes(path), path, kind, keys)


def limited_bytes(path):
    """The content of a file.

    Raises:
      ValueError: something else than a file, or one of more than MAX_BYTES; names it.
      OSError: it does not exist, or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} cannot be read: it must be a file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} cannot be read: it has more than {MAX_BYTES:,} bytes")
    return content


def parse_json(content, where, kind=dict, keys=None):
    """The value of JSON text.

    Args:
      content: str, or bytes of UTF-8.
      where: what it is of, such as its path, for messages.
      kind: dict or list, what it must be.
      keys: as of `check_keys`.

    Raises:
      ValueError: in one sentence that begins with `where`.
    """
    try:
        value = decoded(content)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{where} is not allowed: it must hold {NAMES[kind]}")
    check_keys(value, where, keys or {})
    return value


def decoded(content):
    """The value of JSON text, str or bytes of UTF-8. Raises ValueError that says why it is none."""
    if not content:
        raise ValueError("it is empty")
    try:
        value = json.loads(content if isinstance(content, str) else content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    containers = [value]
    for _ in range(MAX_DEPTH):
        inside = (item.values() if isinstance(item, dict) else item for item in containers if isinstance(item, (dict, list)))
        containers = [item for items in inside for item in items if isinstance(item, (dict, list))]
        if not containers:
            return value
    raise ValueError(TOO_DEEP)


def check_keys(value, where, keys):
    """Refuses JSON of another shape.

    Args:
      value: a dict.
      where: what it is of, for messages.
      keys: {dotted name of a value inside: type or tuple of types that it must have}. With "?" behind its name it may be missing,
        and None. A bool is no number here.

    Raises:
      ValueError: names the first value that is missing or of another type.
    """
    for key, kinds in keys.items():
        *outer, name = key.removesuffix("?").split(".")
        inside = value
        for section in outer:
            inside = inside.get(section) if isinstance(inside, dict) else None
        found = inside.get(name) if isinstance(inside, dict) else None
        if found is None and key.endswith("?"):
            continue
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            what = "a number" if float in kinds else " or ".join(NAMES[kind] for kind in kinds)
            has = "is missing" if not isinstance(inside, dict) or name not in inside else f"is {shown(found)}"
            raise ValueError(f"{where} is not allowed: {key.removesuffix('?')} {has}, and must be {what}")


def check_values(values, where, kinds):
    """Refuses a dict that has a value of another type; `where` stands before its name in the message. As `check_keys`."""
    for name, value in values.items():
        check_keys({"value": value}, f"{where} {name!r}", {"value": kinds})


def shown(value):
    """The beginning of a value's JSON, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
