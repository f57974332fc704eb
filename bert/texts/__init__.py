"""Classification and regression of texts: data sets (GLUE, user files), batches, metrics, evaluation and settings."""
