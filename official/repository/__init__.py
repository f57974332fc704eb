"""Published models. Imports no TensorFlow.

Both sides: handles (names of models), archives (tar.gz files), index (index.json, what a repository holds).
Loading: lookup (handle to folder), locations (folders, servers and buckets to read from), cache (downloads).
Publishing (official.publish): card (what is known of a model), html (pages).
"""
