"""Reads the files of SentencePiece models and makes them fit for ALBERT's rules."""

SPECIAL = ("<pad>", "[CLS]", "[SEP]", "[MASK]")  # ALBERT's, besides the one whose type is UNKNOWN
MAX_PIECE = 256  # characters of a piece; spm_train makes none of more than 16, and the time for a text grows with the longest
# Types of pieces, as in sentencepiece_model.proto.
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6


def read_model(content, path):
    """Changes a SentencePiece model so that no text becomes a special token and several spaces count as one.

    Args:
      content: bytes of the file.
      path: of the file, for errors.

    Returns:
      model: bytes, as tensorflow_text.SentencepieceTokenizer takes it.
      pieces: list of str.
      types: list of int.

    Raises:
      ValueError: the file is not a SentencePiece model, lacks a special token, or has too long a piece; names the file.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2  # here, because WordPiece does not need it

    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(content)
        pieces = [piece.piece for piece in model.pieces]
    except (DecodeError, UnicodeDecodeError):
        pieces = []
    # Protocol Buffers' fast implementation gives text that is not UTF-8 as bytes.
    if not pieces or not all(piece and isinstance(piece, str) for piece in pieces):
        raise ValueError(f"{path}: it is not a SentencePiece model")
    longest = max(map(len, pieces))
    if longest > MAX_PIECE:
        raise ValueError(f"{path}: it has a piece of {longest:,} characters, and {MAX_PIECE} are allowed")
    for piece in model.pieces:
        if piece.piece in SPECIAL:
            piece.type = CONTROL  # text that reads like the token stays text
    types = [piece.type for piece in model.pieces]
    missing = [token for token in SPECIAL if token not in pieces] + ["<unk>"] * (UNKNOWN not in types)
    if missing:
        how = "--control_symbols=[CLS],[SEP],[MASK] --pad_id=0 --unk_id=1 --bos_id=-1 --eos_id=-1"
        raise ValueError(f"{path}: {', '.join(missing)} is missing; spm_train makes what ALBERT needs with {how}")
    model.normalizer_spec.remove_extra_whitespaces = True
    return model.SerializeToString(), pieces, types
