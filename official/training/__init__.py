"""Training: optimizers, schedules, callbacks, progress, devices, fine-tuning and TensorBoard."""
