"""The sheet shows the images that a run trains on, and its command refuses a wrong setting in one sentence."""

import sys
import types

import numpy as np
import pytest
from matplotlib import image

from official.cli.recipe_flag import parse_flags
from tests.official.tiny import run_command
from vision import contact_sheet
from vision.classification import ImageClassification
from vision.configs import digits
from vision.contact_sheet import draw_sheet


def test_shows_what_is_trained_on():
    """An example in an epoch is, pixel by pixel, what the run's stream has of it then; the first column is not augmented."""
    task = ImageClassification(digits.get_config())
    originals, epochs = task.augmented(4, 2)
    evaluated, labels = next(iter(task.evaluation_dataset("train")))
    np.testing.assert_array_equal(originals[0], evaluated[:4])
    np.testing.assert_array_equal(originals[1], labels[:4])
    steps = 2 * 1438 // 64
    seen = np.concatenate([images.numpy() for images, _ in task.train_dataset(0).take(steps)])
    for epoch, (images, _) in enumerate(epochs):
        stream = seen[1438 * epoch : 1438 * (epoch + 1)]
        for picture in images:
            assert (stream == picture).all(axis=(1, 2, 3)).any()


def test_a_row_an_example_and_a_column_an_epoch():
    task = ImageClassification(digits.get_config())
    figure = draw_sheet(task, examples=3, epochs=4)
    assert len(figure.axes) == 3 * 5
    assert [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()] == [
        "as evaluated",
        *(f"epoch {epoch}" for epoch in range(4)),
    ]


@pytest.mark.process
def test_the_command(tmp_path):
    sheet = [sys.executable, "-m", "vision.contact_sheet", "--config=vision/configs/digits.py"]
    done = run_command(
        [*sheet, f"--output={tmp_path / 'new' / 'sheet.png'}", "--examples=2", "--epochs=3", "--config.data.flip=True"]
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert image.imread(tmp_path / "new" / "sheet.png").std() > 0.05


def test_only_sheets_are_replaced(monkeypatch, tmp_path, capsys):
    """A picture of the user's stays as it is; an earlier sheet makes room."""
    config, photo, sheet = digits.get_config(), tmp_path / "photo.png", tmp_path / "sheet.png"
    monkeypatch.setattr(contact_sheet, "CONFIG", types.SimpleNamespace(value=config))
    monkeypatch.setattr(contact_sheet, "given_recipe", lambda: config)
    monkeypatch.setattr(contact_sheet, "EXAMPLES", types.SimpleNamespace(value=1))
    monkeypatch.setattr(contact_sheet, "EPOCHS", types.SimpleNamespace(value=1))
    image.imsave(photo, np.zeros([2, 2]))
    before = photo.read_bytes()
    monkeypatch.setattr(contact_sheet, "OUTPUT", types.SimpleNamespace(value=str(photo)))
    with pytest.raises(SystemExit, match=r"^error: --output=.*photo\.png is not allowed: it must be a new path or an earlier"):
        contact_sheet.main([])
    assert photo.read_bytes() == before
    monkeypatch.setattr(contact_sheet, "OUTPUT", types.SimpleNamespace(value=str(sheet)))
    for _ in range(2):
        contact_sheet.main([])
    assert capsys.readouterr().out == 2 * f"{sheet}: 1 examples in 1 epochs\n"


def test_refused_settings(monkeypatch, tmp_path):
    """A value that is not allowed, and a name that is not a setting."""
    config = digits.get_config()
    config.data.crop = "middle"
    monkeypatch.setattr(contact_sheet, "CONFIG", types.SimpleNamespace(value=config))
    monkeypatch.setattr(contact_sheet, "given_recipe", lambda: config)
    monkeypatch.setattr(contact_sheet, "OUTPUT", types.SimpleNamespace(value=str(tmp_path / "sheet.png")))
    message = "error: data.crop='middle' is not allowed: it must be one of none, inception"
    with pytest.raises(SystemExit, match=f"^{message}$"):
        contact_sheet.main([])
    with pytest.raises(SystemExit, match=r"did you mean data\.crop\?"):
        parse_flags(["contact_sheet", "--config=vision/configs/digits.py", "--config.data.crob=none"])
