"""Where examples come from: sources of any kind, TensorFlow Datasets, and what happens to bad examples."""
