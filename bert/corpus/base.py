"""What is wrong with a corpus."""


class CorpusError(ValueError):
    """A file that cannot be read or is not what its name says; the message names it."""
