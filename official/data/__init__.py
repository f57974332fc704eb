"""Sources of examples, data sets of TensorFlow Datasets, and the policy for bad examples."""
