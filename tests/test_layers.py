"""Imports run one way, in no circle, lazily or otherwise; and importing the package is cheap.

A package is a floor of its own where the tree has one: `experts/face` is not `experts`. What counts as an import is
every `import` statement, inside functions too, and every `import_module` of a name that can be read in the source.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "emofuse"
LAYERS = (
    ("version", "errors", "affect", "scales", "config", "tables"),
    ("io", "io/video", "cli"),
    ("runs", "datasets", "metrics", "metrics/significance"),
    ("fusion", "calibration", "stabilizer", "report"),
    ("evaluation", "experts", "experts/face", "experts/face/detectors"),
    ("inference", "training", "live"),
    ("tuning/calibration", "tuning/stabilizer", "tuning", "benchmark", "pipeline"),
    ("commands",),
    ("", "__main__"),
)
"""From the lowest up: a module may import from its own layer and from those before it; "" is the package itself."""
RAY = {"inference", "tuning", "tuning/calibration", "tuning/stabilizer", "benchmark"}
"""Where ray may be imported."""
TORCH = RAY | {"experts", "experts/face", "experts/face/detectors", "training", "live", "io"}
"""Where torch and its relatives may be imported."""
HEAVY = {"torch", "timm", "open_clip", "torchvision", "face_alignment"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    named = {".".join(("emofuse", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in files()}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; for `from a import b` both `a` and `a.b`."""
    only_for_types = {
        id(inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inside in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports name the package in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
            yield from constants(node)


def constants(call: ast.Call) -> Iterator[str]:
    """The names that an `import_module` may be given: those are to be constants, in the call or in a table."""
    name = call.args[0]
    if isinstance(name, ast.Constant):
        yield str(name.value)


def imports_of(path: Path, known: Mapping[str, Path]) -> set[str]:
    """The package's own modules that a file imports: the most exact name of each."""
    tree = ast.parse(path.read_text())
    found = {name for name in imported(tree) if name in known}
    dynamic = any(isinstance(node, ast.Name) and node.id == "import_module" for node in ast.walk(tree))
    if dynamic:  # names in a table of the module that the call looks up
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in known
        }
    # `from a.b import c` names a.b as well, which is imported only as the parent where a.b.c is a module.
    parents = {name.rpartition(".")[0] for name in found}
    used = {name for name in found if name not in parents or uses_directly(tree, name, known)}
    return used


def uses_directly(tree: ast.AST, module: str, known: Mapping[str, Path]) -> bool:
    """Whether something of `module` itself is imported, not only its submodules."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == module
        and any(f"{module}.{alias.name}" not in known for alias in node.names)
        for node in ast.walk(tree)
    )


def room(module: str) -> str:
    """The folder, or the top-level file, in which a module stands; "" for the package itself."""
    path = modules()[module].relative_to(PACKAGE)
    if path == Path("__init__.py"):
        return ""
    return path.parent.as_posix() if len(path.parts) > 1 else path.stem


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def test_every_module_belongs_to_a_layer() -> None:
    assert {room(module) for module in modules()} == set().union(*LAYERS)


@pytest.mark.parametrize("module", modules())
def test_imports_run_one_way(module: str) -> None:
    mine = room(module)
    for name in imports_of(modules()[module], modules()):
        assert layer(room(name)) <= layer(mine), f"{module} imports {name}, which is above it"
    outside = {name.split(".")[0] for name in imported(ast.parse(modules()[module].read_text()))}
    assert "ray" not in outside or mine in RAY, f"{module} imports ray"
    assert not outside & HEAVY or mine in TORCH, f"{module} imports {outside & HEAVY}"


def test_there_is_no_circle() -> None:
    known = modules()
    within: dict[str, set[str]] = {module: imports_of(path, known) - {module} for module, path in known.items()}
    try:
        tuple(TopologicalSorter(within).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_there_is_no_circle_of_folders() -> None:
    known = modules()
    rooms: dict[str, set[str]] = {}
    for module, path in known.items():
        here = room(module)
        rooms.setdefault(here, set()).update(room(name) for name in imports_of(path, known))
    # A package's own __init__ offers what its modules have.
    try:
        tuple(TopologicalSorter({here: there - {here} for here, there in rooms.items()}).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_two_halves_do_not_know_each_other() -> None:
    known = modules()
    for module, path in known.items():
        there = {room(name) for name in imports_of(path, known)}
        assert not (room(module) == "inference" and "evaluation" in there), module
        assert not (room(module) == "evaluation" and "inference" in there), module


def test_a_lazy_import_is_seen(tmp_path: Path) -> None:
    known = modules()
    odd = tmp_path / "odd.py"
    odd.write_text("from importlib import import_module\n\ndef f():\n    return import_module('emofuse.live')\n")
    assert imports_of(odd, known) == {"emofuse.live"}
    odd.write_text("def f():\n    from emofuse.io import storage\n    return storage\n")
    assert imports_of(odd, known) == {"emofuse.io.storage"}
    odd.write_text("from importlib import import_module\nHOMES = {'a': 'emofuse.live'}\nimport_module(HOMES['a'])\n")
    assert imports_of(odd, known) == {"emofuse.live"}


def loaded_by(statement: str) -> tuple[set[str], float]:
    code = f"import time, sys; t = time.process_time(); {statement}; print(time.process_time() - t, *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {name.split(".")[0] for name in out[1:]}, float(out[0])


def test_the_package_is_imported_in_under_half_a_second_without_torch_or_ray() -> None:
    seconds = []
    for _ in range(5):
        loaded, took = loaded_by("import emofuse")
        assert not loaded & (HEAVY | {"ray"})
        seconds.append(took)
        time.sleep(0.1)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "module",
    ["tables.schema", "runs.run", "io.images", "datasets", "fusion", "calibration", "metrics", "stabilizer", "report",
     "evaluation.evaluate_table"],
)  # fmt: skip
def test_tables_and_statistics_need_neither_torch_nor_ray(module: str) -> None:
    loaded, _ = loaded_by(f"import emofuse.{module}")
    assert not loaded & (HEAVY | {"ray"})
