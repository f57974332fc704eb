"""Tokenizers inside the graph: normalization, WordPiece, SentencePiece, packing, and a WordPiece trainer."""
