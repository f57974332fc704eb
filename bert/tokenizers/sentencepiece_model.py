"""Files of SentencePiece models: Protocol Buffers, of which little is needed here."""

SPECIAL = ("<pad>", "[CLS]", "[SEP]", "[MASK]")  # ALBERT's, besides the one whose type is UNKNOWN
# From sentencepiece_model.proto: types of pieces, and numbers of fields.
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6
PIECES, NORMALIZER = 1, 3  # of a model
PIECE, TYPE = 1, 3  # of a piece
REMOVE_EXTRA_WHITESPACES = 4  # of a normalizer
# How a value is stored.
NUMBER, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


def read_model(content, path):
    """A SentencePiece model in which no text becomes a special token, and several spaces count as one.

    Args:
      content: bytes of the file.
      path: of the file, for errors.

    Returns:
      model: bytes, as tensorflow_text.SentencepieceTokenizer takes it.
      pieces: list of str.
      types: list of int.

    Raises:
      ValueError: the file is no such model, or lacks a special token; names it.
    """
    model, pieces, types = bytearray(), [], []
    try:
        for number, value in _fields(content):
            if number == PIECES:
                piece = dict(_fields(value))
                pieces.append(piece[PIECE].decode())
                types.append(piece.get(TYPE, NORMAL))
                if not pieces[-1]:
                    raise ValueError("a piece is empty")
                if pieces[-1] in SPECIAL:
                    types[-1] = CONTROL  # text that reads so is text
                    value += _field(TYPE, CONTROL)
            model += _field(number, value)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path}: it is no SentencePiece model") from None
    if not pieces:
        raise ValueError(f"{path}: it is no SentencePiece model")
    missing = [token for token in SPECIAL if token not in pieces] + ["<unk>"] * (UNKNOWN not in types)
    if missing:
        how = "--control_symbols=[CLS],[SEP],[MASK] --pad_id=0 --unk_id=1 --bos_id=-1 --eos_id=-1"
        raise ValueError(f"{path}: {', '.join(missing)} is missing; spm_train makes what ALBERT needs with {how}")
    model += _field(NORMALIZER, _field(REMOVE_EXTRA_WHITESPACES, 1))
    return bytes(model), pieces, types


def _fields(message):
    """Yields (number, value) of a message's fields; of one that comes twice the last counts, or adds to the first if a message.

    Raises:
      ValueError: it is none.
    """
    position = 0

    def take(count):
        nonlocal position
        if position + count > len(message):
            raise ValueError("it is cut off")
        position += count
        return message[position - count : position]

    def varint():
        value = shift = 0
        while True:
            byte = take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(message):
        number, kind = divmod(varint(), 8)
        if kind == NUMBER:
            yield number, varint()
        elif kind == BYTES:
            yield number, take(varint())
        elif kind in (FOUR_BYTES, EIGHT_BYTES):
            yield number, _Fixed(take(4 if kind == FOUR_BYTES else 8))
        else:
            raise ValueError(f"there is no kind {kind}")


class _Fixed(bytes):
    """A value of 4 or 8 bytes, which is no message."""


def _field(number, value):
    """The bytes of one field."""
    if isinstance(value, int):
        return _varint(number * 8 + NUMBER) + _varint(value)
    if isinstance(value, _Fixed):
        return _varint(number * 8 + (FOUR_BYTES if len(value) == 4 else EIGHT_BYTES)) + value
    return _varint(number * 8 + BYTES) + _varint(len(value)) + value


def _varint(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
