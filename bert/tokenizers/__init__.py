"""Tokenizers inside the graph: normalization, WordPiece, SentencePiece, packing of inputs, and a WordPiece trainer."""
