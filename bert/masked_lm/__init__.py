"""Masked-LM pretraining: prepared data, masking, batches, loss, evaluation and settings."""
