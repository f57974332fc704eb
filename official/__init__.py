"""What every model of this project shares: the training driver, strategies, optimizers, checkpoints, export."""
