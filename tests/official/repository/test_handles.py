"""Handles, and strings that are not handles."""

import pytest

from official.repository.handles import MAX_CHARS, Handle, is_handle, parse_handle, parse_name


@pytest.mark.parametrize(
    "text, name, version",
    [
        ("widenet/vision/b16-cifar10/1", "widenet/vision/b16-cifar10", 1),
        ("me/x/12", "me/x", 12),
        ("a/b_c/d-2/e/999999999", "a/b_c/d-2/e", 999999999),
    ],
)
def test_handle(text, name, version):
    assert is_handle(text)
    assert parse_handle(text) == Handle(name, version)
    assert str(parse_handle(text)) == text
    assert parse_name(text) == (name, version)
    assert parse_name(name) == (name, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me/x",
        "me/1",
        "me/x/0",
        "me/x/01",
        "me/x/1/",
        "/me/x/1",
        "me//x/1",
        "me/../x/1",
        "./me/x/1",
        "me/x/1.5",
        "me/x/-1",
        "me/x/1\n",
        "Me/x/1",
        "me/x.y/1",
        "me/2/1",
        "me/x y/1",
        "me/x/\u0661",
        "https://me/x/1",
        "runs/digits/checkpoints/step-1610",
        "me/" + "x" * MAX_CHARS + "/1",
    ],
)
def test_no_handle(text):
    """Among them paths out of a folder, and file names of a version."""
    assert not is_handle(text)
    with pytest.raises(ValueError) as error:
        parse_handle(text, "--handle")
    assert str(error.value).startswith(f"--handle={text!r} is not allowed: a handle is publisher/.../name/version")


@pytest.mark.parametrize("text", ["me", "me/x/", "me/x/0", "me/X", "me/" + "x" * MAX_CHARS])
def test_no_name(text):
    with pytest.raises(ValueError, match="is not allowed: a handle is"):
        parse_name(text)
