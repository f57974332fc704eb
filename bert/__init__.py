"""Text models: BERT, ALBERT and WideNet, by name."""

from bert.zoo import create_model, list_models, model_settings

__all__ = ["create_model", "list_models", "model_settings"]
