"""Sentence embeddings: pairs and single texts of many sources, batches of two views, loss, evaluation and settings."""
