"""Exports: SavedModels, their signatures, ONNX and TFLite files, and the checks that those answer alike."""
