"""Evaluation: running a model over a split, metrics, a classifier's files, and their plots."""
