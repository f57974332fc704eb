"""Weights on disk: a run's checkpoints, trained models of any form, and models that start from saved weights."""
