"""What tests of exported models share: fresh models, exported as the driver does it."""

from official.config import to_plain
from official.serving.saved_models import write_saved_model
from official.task import create_task


def export_fresh(config, folder, part="model"):
    """Exports a part of the fresh model of a recipe to a folder, a pathlib.Path, and returns the model."""
    exported = create_task(config).part(part)
    write_saved_model(exported, folder, to_plain(config), {})
    return exported.model
