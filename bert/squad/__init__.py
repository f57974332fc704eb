"""Question answering on SQuAD: questions, windows, batches, answers, metrics, evaluation and settings."""
