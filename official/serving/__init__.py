"""Exported models: SavedModels, their signatures, ONNX and TFLite files, and checks that all give the same outputs."""
