"""Image models: ViT, ViT-MoE and WideNet, by name."""

from vision.zoo import create_model, list_models, model_settings

__all__ = ["create_model", "list_models", "model_settings"]
