"""Pretraining data from running text: corpora by name, documents, segment pairs, records and shards."""
