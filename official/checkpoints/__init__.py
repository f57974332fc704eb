"""Weights on disk: checkpoints of a run, trained models in any format, and models that start from saved weights."""
