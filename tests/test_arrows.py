"""Which part of the project may import which: a table without circles, in which no library imports a command.

A room is a folder of official/ or bert/, or a file on their first floor ("official.checkpoints", "official.task"); each other
package is one room. Imports inside functions count, too.
"""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MAX_FILES = 9  # modules in a folder, beside its __init__.py
PACKAGES = ("official", "bert", "vision", "widenet", "benchmarks")
# The arrows between packages; benchmarks may import all, and nothing imports benchmarks or tests.
PACKAGES_MAY_IMPORT = {"widenet": "", "official": "", "vision": "widenet official", "bert": "widenet official"}

# {room: the rooms that it may import}, from the bottom up. A package's rows are complete: every room of it has one.
ARROWS = {
    "official.zoo": "",
    "official.exportable": "",
    "official.files": "",
    "official.data": "official.files",
    "official.config": "official.files official.zoo",
    "official.cli": "official.config official.files official.zoo",
    "official.conversion": "official.cli official.files",
    "official.repository": "official.files official.cli",
    "official.task": "official.exportable official.data",
    "official.checkpoints": "official.task official.repository official.conversion official.config official.files official.cli "
    "official.zoo",
    "official.evaluation": "official.task official.files",
    "official.comparison": "official.evaluation official.repository official.config official.files official.cli",
    "official.training": "official.checkpoints official.config official.files official.cli",
    "official.serving": "official.evaluation official.checkpoints official.exportable official.files official.cli",
    "official.hub": "official.repository official.cli",
    "official.distillation": "official.task official.config",
    # Commands.
    "official.data_service": "official.data official.cli",
    "official.evaluate": "official.evaluation official.checkpoints official.config official.files official.cli",
    "official.export": "official.serving official.checkpoints official.task official.config official.files official.cli",
    "official.grow": "official.serving official.checkpoints official.task official.config official.files official.cli "
    "official.zoo",
    "official.predict": "official.serving official.data official.files official.cli",
    "official.prepare": "official.cli",
    "official.publish": "official.repository official.files",
    "official.repeat": "official.training official.files official.cli",
    "official.report": "official.comparison official.files",
    "official.train": "official.serving official.evaluation official.training official.checkpoints official.task official.data "
    "official.config official.files official.cli",
    "bert.layers": "widenet",
    "bert.models": "bert.layers widenet",
    "bert.transfer": "official.checkpoints widenet",
    "bert.conversion": "bert.tokenizers official.conversion widenet",
    "bert.zoo": "bert.conversion bert.models bert.transfer official.checkpoints official.zoo widenet",
    "bert.tokenizers": "official.cli",
    "bert.tokenizer": "bert.tokenizers",
    "bert.corpus": "bert.tokenizer official.cli official.data official.files",
    "bert.masked_lm": "bert.corpus bert.tokenizers official.config official.data official.task",
    "bert.texts": "bert.corpus bert.tokenizers official.config official.data official.evaluation official.task",
    "bert.sentences": "bert.corpus bert.layers bert.texts official.config official.data official.evaluation official.task",
    "bert.squad": "bert.tokenizers official.cli official.config official.data official.files official.task",
    "bert.serving": "bert.tokenizers official.exportable",
    "bert.task": "bert.corpus bert.models bert.serving bert.tokenizer bert.transfer bert.zoo official.checkpoints "
    "official.config official.data official.exportable official.task widenet",
    "bert.classification": "bert.serving bert.task bert.texts official.evaluation official.task",
    "bert.embedding": "bert.sentences bert.serving bert.task bert.texts official.task",
    "bert.pretraining": "bert.corpus bert.masked_lm bert.task official.task",
    "bert.question_answering": "bert.serving bert.squad bert.task official.task",
    "bert.recipes": "bert.masked_lm bert.sentences bert.squad bert.texts official.checkpoints official.config widenet",
    "bert.configs": "bert.recipes official.distillation",
    # Commands.
    "bert.convert": "bert.conversion bert.recipes bert.texts bert.zoo official.checkpoints official.cli official.config "
    "official.conversion official.files official.serving official.task official.zoo",
    "bert.__main__": "bert.models official.cli widenet",
    "bert.fill": "bert.masked_lm official.checkpoints official.cli official.files official.serving",
    "bert.prepare": "bert.corpus official.cli official.config official.files",
    "bert.vocabulary": "bert.corpus bert.tokenizer bert.tokenizers official.cli official.files",
    "bert.word_vectors": "bert.corpus bert.masked_lm official.cli official.files",
}
COVERED = sorted({room.partition(".")[0] for room in ARROWS})


def modules(package):
    """{dotted name: pathlib.Path} of a package's files; a folder's __init__.py has the folder's name."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


KNOWN = {name: path for package in (*PACKAGES, "tests") for name, path in modules(package).items()}


def room(module):
    """The room of a module; None for the __init__.py of a package that is divided into rooms."""
    parts = module.split(".")
    if parts[0] not in COVERED:
        return parts[0]
    return ".".join(parts[:2]) if len(parts) > 1 else None


def imports(path):
    """The modules of this project that a file imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in KNOWN else node.module for name in inside]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        else:
            continue
        yield from (name for name in names if name in KNOWN)


def arrows(package):
    """{room: {room that it imports: {file}}} of a package, without arrows inside a room."""
    found = {}
    for module, path in modules(package).items():
        here = room(module)
        for target in map(room, imports(path)):
            if here and target and target != here:
                found.setdefault(here, {}).setdefault(target, set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_way_to_import_is_seen(tmp_path):
    source = """
import widenet.moe, benchmarks.step as other
from official.files.tables import read_table
from official import task
def late():
    import vision
    import importlib
    importlib.import_module("bert.models")
    __import__("bert.zoo")
if True:
    from bert import layers
"""
    (tmp_path / "module.py").write_text(source)
    seen = set(imports(tmp_path / "module.py"))
    assert {"widenet.moe", "benchmarks.step", "official.files.tables", "official.task", "vision"} <= seen
    assert {"bert.models", "bert.zoo", "bert.layers"} <= seen


@pytest.mark.parametrize("package", PACKAGES_MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    forbidden = {*PACKAGES, "tests"} - {package, *PACKAGES_MAY_IMPORT[package].split()}
    for path in modules(package).values():
        crossed = {name.partition(".")[0] for name in imports(path)} & forbidden
        assert not crossed, f"{path.relative_to(ROOT)} imports {sorted(crossed)}"


def is_command(path):
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", COVERED)
def test_arrows_are_in_the_table(package):
    """And the table has no row or arrow that the code no longer needs."""
    found = {here: sorted(targets) for here, targets in arrows(package).items()}
    allowed = {here: sorted(targets.split()) for here, targets in ARROWS.items() if here.startswith(f"{package}.")}
    surplus = {here: [t for t in found.get(here, []) if t not in allowed.get(here, [])] for here in found}
    files = [(here, t, sorted(arrows(package)[here][t])) for here in surplus for t in surplus[here]]
    assert not files, "not in the table"
    unused = [(here, target) for here, targets in allowed.items() for target in targets if target not in found.get(here, [])]
    assert not unused, "in the table and not in the code"
    rooms = {room(module) for module in modules(package)} - {None}
    assert rooms == set(allowed)


def test_table_has_no_circle():
    graphlib.TopologicalSorter({here: targets.split() for here, targets in ARROWS.items()}).prepare()


@pytest.mark.parametrize("package", COVERED)
def test_no_command_is_a_library(package):
    """What a command shares with another file stands in a room of its own."""
    wrong = [
        (module, target) for module, path in modules(package).items() for target in imports(path) if is_command(KNOWN[target])
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["official", "bert"])
def test_folders_stay_small(package):
    """At most nine files with one purpose; the folders of recipes may grow."""
    folders = {path.parent for path in modules(package).values()} - {ROOT / package, ROOT / package / "configs"}
    sizes = {folder.name: len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MAX_FILES} == {}
