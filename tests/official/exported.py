"""What tests of exported models share: fresh models, exported as the driver does it."""

from official.config import to_plain
from official.export import export_saved_model
from official.task import create_task


def export_fresh(config, folder):
    """Exports the fresh model of a recipe to a folder, and returns the model."""
    task = create_task(config)
    model = task.create_model()
    export_saved_model(model, folder, task.endpoints(model), task.resources(), to_plain(config), task.assets())
    return model
