"""Labelled texts to classify: GLUE and files of the user's own, batches, metrics and settings."""
