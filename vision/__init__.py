"""Image models by name (ViT, ViT-MoE, WideNet), and everything that image recipes need.

Models: zoo (sizes and settings), models (builds one), sizes, embedding (patches, grids, pooling), transfer (start
  from other weights).
Data: data (data sets by name), decoding, preprocessing (settings; one image), randaugment, image_operations, caching,
  mixup, pipeline (batches). pixels: a layer that prepares pixels for a model.
Task: classification (what official.train runs), serving (signatures that take image files), recipes and configs/.
Commands: python -m vision prints the models; vision.contact_sheet draws augmented images; vision.prepare downloads data;
  vision.convert takes vision transformers of Hugging Face and Google (conversion/).
"""

from official.zoo import OPTIMIZERS, import_with_tensorflow
from vision.zoo import create_model, list_models, load_model, model_settings, preprocessor

__all__ = ["create_model", "list_models", "load_model", "model_settings", "preprocessor"]

# So that tf.keras.models.load_model knows their classes; the optimizers may need TensorFlow Addons, which is slow to import.
import_with_tensorflow("vision.embedding", on_demand={**OPTIMIZERS, "vision>Preprocessor": "vision.pixels"})
