"""Question answering on SQuAD: questions, windows, batches, answers, metrics and settings."""
