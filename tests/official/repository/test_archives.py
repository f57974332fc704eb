"""Archives: deterministic packing, and unpacking of hostile archives."""

import gzip
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile

import pytest

from official.repository import archives
from official.repository.archives import pack, sha256_of, unpack
from tests.official.model_repository import make_model
from tests.official.tiny import ROOT, files_and_digests

CONTENT = b"what makes it a SavedModel"
SIZE = len(CONTENT)
SAVED_MODEL = ("saved_model.pb", CONTENT)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("archives") / "model")
    (folder / "assets" / ("a name that a tar header of its own must hold " * 4)).write_text("x")
    (folder / "assets" / "ä").write_text("y")
    return folder


def test_there_and_back(model, tmp_path):
    """Every file, and empty folders."""
    size = pack(model, tmp_path / "archive")
    assert size == sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    unpack(tmp_path / "archive", tmp_path / "unpacked", size, "it")
    assert files_and_digests(tmp_path / "unpacked") == files_and_digests(model)
    assert (tmp_path / "unpacked" / "assets").is_dir()


def test_bytes_follow_from_the_contents(model, tmp_path):
    """Not on times, modes, owners, paths or the order in which files were created."""
    pack(model, tmp_path / "first")
    copy = tmp_path / "elsewhere" / "copy"
    copy.mkdir(parents=True)
    for path in sorted(model.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(model)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o600)
            os.utime(target, (1, 1))
    pack(copy, tmp_path / "second")
    assert sha256_of(tmp_path / "first") == sha256_of(tmp_path / "second")


def test_as_others_read_it(model, tmp_path):
    """Python's own extraction finds the SavedModel at the root."""
    pack(model, tmp_path / "archive")
    with tarfile.open(tmp_path / "archive", "r:gz") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert files_and_digests(tmp_path / "unpacked") == files_and_digests(model)


def test_no_saved_model(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder is not a SavedModel: it has no saved_model.pb"):
        pack(tmp_path / "folder", tmp_path / "archive")


@pytest.mark.parametrize("made", ["link", "pipe"])
def test_not_packed(tmp_path, made):
    """Files that could not be unpacked."""
    folder = make_model(tmp_path / "model")
    if made == "link":
        (folder / made).symlink_to("/etc/passwd")
    else:
        os.mkfifo(folder / made)
    with pytest.raises(ValueError, match=f"{made} cannot be published: it must be a file or a folder, not a link or a device"):
        pack(folder, tmp_path / "archive")


def member(name, content=b"", **more):
    """A tarfile.TarInfo and its content."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def write_archive(path, *members, **options):
    """An archive of (name, content) or members."""
    with tarfile.open(path, "w:gz", **options) as archive:
        for info, content in members:
            if isinstance(info, str):
                info, content = member(info, content)
            archive.addfile(info, io.BytesIO(content))
    return path


def refusal(tmp_path, archive, size=SIZE):
    """The message of `unpack` for an archive; no file may be left of it."""
    (tmp_path / "outside").write_text("as it was")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as error:
        unpack(archive, tmp_path / "unpacked", size, "me/x/1")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "outside").read_text() == "as it was"
    said = str(error.value)
    assert said.startswith("me/x/1 is refused: ")
    return said.removeprefix("me/x/1 is refused: ")


LINK, OUTSIDE = "is not a regular file or a folder", "leads out of its folder, or too deep into it"


@pytest.mark.parametrize(
    "hostile, said",
    [
        (("../outside", b"x"), f"'../outside' {OUTSIDE}"),
        (("variables/../../outside", b"x"), f"'variables/../../outside' {OUTSIDE}"),
        (("/tmp/outside", b"x"), f"'/tmp/outside' {OUTSIDE}"),
        (("a/" * 30 + "b", b"x"), f"{'a/' * 30 + 'b'!r} {OUTSIDE}"),
        (member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), f"'link' {LINK}"),
        (member("link", type=tarfile.SYMTYPE, linkname="saved_model.pb"), f"'link' {LINK}"),
        (member("link", type=tarfile.LNKTYPE, linkname="../outside"), f"'link' {LINK}"),
        (member("pipe", type=tarfile.FIFOTYPE), f"'pipe' {LINK}"),
        (member("disk", type=tarfile.BLKTYPE, devmajor=8), f"'disk' {LINK}"),
        (member("terminal", type=tarfile.CHRTYPE, devmajor=5), f"'terminal' {LINK}"),
        (member("sparse", type=tarfile.GNUTYPE_SPARSE), f"'sparse' {LINK}"),
        (member("unheard-of", type=b"Z"), f"'unheard-of' {LINK}"),
        (("saved_model.pb", CONTENT), "'saved_model.pb' is in it twice"),
        (("saved_model.pb/inside", CONTENT), "'saved_model.pb/inside' is in it twice"),
        (member("saved_model.pb", type=tarfile.DIRTYPE), "'saved_model.pb' is in it twice"),
    ],
)
def test_refused_member(tmp_path, hostile, said):
    """Beside a good one; the stated size is large enough, so that it is not the reason."""
    archive = write_archive(tmp_path / "archive", SAVED_MODEL, hostile)
    assert refusal(tmp_path, archive, 2 * len(CONTENT)) == said


def test_link_then_through_it(tmp_path):
    """A link out of the folder, then a file that would be written through it."""
    link = member("variables", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    archive = write_archive(tmp_path / "archive", SAVED_MODEL, link, ("variables/outside", b"x"))
    assert refusal(tmp_path, archive, 100) == f"'variables' {LINK}"


def test_other_names_of_the_root(tmp_path):
    """What tar makes of a folder called ".": allowed."""
    archive = write_archive(tmp_path / "archive", member("./", type=tarfile.DIRTYPE), ("./saved_model.pb", CONTENT))
    unpack(archive, tmp_path / "unpacked", len(CONTENT), "it")
    assert (tmp_path / "unpacked" / "saved_model.pb").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "size, said",
    [
        (len(CONTENT) - 1, f"it has more than the stated {len(CONTENT) - 1} bytes unpacked"),
        (len(CONTENT) + 1, f"it has {len(CONTENT)} bytes unpacked, and {len(CONTENT) + 1} were stated"),
        (archives.MAX_BYTES + 1, f"{archives.MAX_BYTES + 1:,} bytes unpacked, and {archives.MAX_BYTES:,} are allowed"),
    ],
)
def test_stated_size(tmp_path, size, said):
    """It must be the size in the index, and at most MAX_BYTES."""
    assert refusal(tmp_path, write_archive(tmp_path / "archive", SAVED_MODEL), size) == said


def write_zeros(path, begin):
    """An archive of a member's header, and a gigabyte of zeros after it."""
    path.write_bytes(gzip.compress(begin[0].tobuf()) + gzip.compress(bytes(1 << 20)) * (1 << 10))
    return path


def test_bomb(tmp_path):
    """A gigabyte of zeros in a megabyte: at most the stated size is written, and one chunk is in memory."""
    archive = write_zeros(tmp_path / "archive", member("saved_model.pb", size=1 << 30))
    assert archive.stat().st_size < 2 << 20
    assert refusal(tmp_path, archive, 1 << 20).startswith("it has more than the stated 1,048,576 bytes unpacked")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_bomb_in_a_header(tmp_path, kind):
    """A header of a gigabyte, which tarfile would read at once, in a process that may not use that much memory."""
    archive = write_zeros(tmp_path / "archive", member("header", size=1 << 30, type=kind))
    code = f"""
import pathlib, resource
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
from official.repository.archives import unpack
try:
    unpack(pathlib.Path({str(archive)!r}), pathlib.Path({str(tmp_path / "unpacked")!r}), 100, "me/x/1")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout == f"me/x/1 is refused: a header of {1 << 30:,} bytes\n", done.stderr
    assert not (tmp_path / "unpacked").exists()


def test_bomb_of_headers(tmp_path):
    """Each header announces another one, beyond Python's recursion limit."""
    header = member("header", type=tarfile.XHDTYPE)[0].tobuf()
    archive = tmp_path / "archive"
    archive.write_bytes(gzip.compress(header * 5000))
    assert refusal(tmp_path, archive).startswith("it is not a tar.gz, or is damaged: maximum recursion depth exceeded")


def test_bomb_of_files(tmp_path, monkeypatch):
    """Empty files add no bytes, but are limited in number."""
    monkeypatch.setattr(archives, "MAX_FILES", 20)
    archive = write_archive(tmp_path / "archive", SAVED_MODEL, *((f"file-{number}", b"") for number in range(20)))
    assert refusal(tmp_path, archive) == "it has more than 20 files"


def test_negative_size(tmp_path):
    """It would make tarfile read the same header again and again."""
    header = bytearray(member("saved_model.pb")[0].tobuf())
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # -512, base 256
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    archive = tmp_path / "archive"
    archive.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    assert refusal(tmp_path, archive) == f"'saved_model.pb' {LINK}"


@pytest.mark.parametrize("size", [0, 5, 100, 100_000, -50])
def test_cut_off(tmp_path, model, size):
    """At the beginning, in the middle and at the end."""
    whole = pack(model, tmp_path / "archive")
    (tmp_path / "cut").write_bytes((tmp_path / "archive").read_bytes()[:size])
    assert refusal(tmp_path, tmp_path / "cut", whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", random.Random(0).randbytes(3000), gzip.compress(b"x" * 3000), bytes(3000)],
    ids=["nothing", "a page", "noise", "compressed", "zeros"],  # of the contents themselves no two processes would be the same
)
def test_no_archive(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    assert refusal(tmp_path, tmp_path / "archive").startswith("it is not a tar.gz, or is damaged")


def test_no_saved_model_at_the_root(tmp_path):
    """In a subfolder it would not be found."""
    archive = write_archive(tmp_path / "archive", ("model/saved_model.pb", CONTENT))
    assert refusal(tmp_path, archive) == "it has no saved_model.pb at its root"
