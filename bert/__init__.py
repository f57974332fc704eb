"""Text models: BERT, ALBERT and WideNet, by name."""
