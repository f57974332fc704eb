"""Masked-LM pretraining: prepared data, masking, batches, loss, evaluation, filling of masks, and settings."""
