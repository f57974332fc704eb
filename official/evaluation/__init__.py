"""Evaluation: runs a model over a split; metrics, files and plots of classifiers."""
