"""A model of this zoo as a folder in Hugging Face's layout: a ViTModel or a ViTForImageClassification."""

from official.checkpoints.pretrained import read_saved
from official.checkpoints.trained_models import recipe_data
from official.conversion.hugging_face import write_hugging_face
from vision.conversion.names import hugging_face_names, sizes
from vision.conversion.pixels import FILE, processor_of
from vision.conversion.settings import config_of
from vision.zoo import zoo


def export_hugging_face(model, output, setting="--from"):
    """Writes a dense vision transformer in Hugging Face's layout. Converting it back gives the same weights, bit by bit.

    Args:
      model: a trained model, as of vision.load_model.
      output: the folder to write, new or empty.
      setting: what the user calls `model`, for messages.

    Returns:
      ({name: array} of the tensors, the dict in config.json, an empty list of notes).

    Raises:
      ValueError: no model there, or one that has no counterpart in Hugging Face's ViT; names the setting.
      OSError: the folder cannot be written.
    """
    saved = read_saved(zoo(), model, setting)
    data = recipe_data(model)
    try:
        config = config_of(saved.settings, data.get("classes"))
    except ValueError as error:
        raise ValueError(f"{setting}={saved.given!r} is not allowed: {error}") from error
    head = saved.settings["classes"] > 0
    axes, tensors = sizes(saved.settings), {}
    for name in hugging_face_names("vit", saved.settings["representation"], head):
        # With a head, transformers has the encoder in a module of this name.
        prefix = "vit." if head and not name.theirs.startswith("classifier") else ""
        for i in range(saved.settings["depth"]) if "{i}" in name.theirs else (0,):
            weight = saved.weights[name.ours.format(i=i)]
            tensors[prefix + name.theirs.format(i=i)] = name.to_theirs(weight[i] if name.is_row else weight, name.shape(axes))
    processor = processor_of(saved.settings, data.get("eval_crop") or 0.0)
    write_hugging_face(output, tensors, {"config.json": config, FILE: processor})
    return tensors, config, []
