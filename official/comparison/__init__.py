"""Comparison of runs: their files read, charts as SVG, and the page that official.report writes. Imports no TensorFlow."""
