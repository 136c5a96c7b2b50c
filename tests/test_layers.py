"""Imports run one way, and importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "emofuse"
LAYERS = [
    {
        "errors",
        "affect",
        "scales",
        "config",
        "sweep_config",
        "hashes",
        "schema",
        "columns",
        "cli",
        "memory",
        "remote",
        "__init__",
    },
    {"media", "storage", "runs", "weights", "checkpoints", "video", "datasets", "experiments"},
    {"predictions", "combination", "stacking", "fusion", "calibration", "metrics", "stabilizer", "report"},
    {"scene", "face"},
    {"pipeline", "tuning", "live"},
]
ALLOWED = {
    ("fusion", "live"): "SceneFaceFusion is offered there, and imported only when it is asked for",
}
HEAVY = {"torch", "ray", "timm", "open_clip", "torchvision", "face_alignment"}


def layer(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_module_belongs_to_a_layer() -> None:
    named = set().union(*LAYERS)
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} <= named


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    mine = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        parts = name.split(".")
        if (
            parts[0] == "emofuse"
            and len(parts) > 1
            and (PACKAGE / parts[1]).exists() | (PACKAGE / f"{parts[1]}.py").exists()
        ):
            other = parts[1]
            assert layer(other) <= layer(mine) or (mine, other) in ALLOWED, f"{path.name} imports {name}"
        if parts[0] == "ray":
            assert layer(mine) >= layer("pipeline"), f"{path.name} imports ray"
        if parts[0] in HEAVY - {"ray"}:
            assert layer(mine) >= layer("scene") or mine == "checkpoints", f"{path.name} imports {parts[0]}"


def loaded_by(statement: str) -> tuple[set[str], float]:
    code = f"import time, sys; t = time.perf_counter(); {statement}; print(time.perf_counter() - t, *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {name.split(".")[0] for name in out[1:]}, float(out[0])


def test_the_package_is_imported_in_under_half_a_second_without_torch_or_ray() -> None:
    seconds = []
    for _ in range(5):
        modules, took = loaded_by("import emofuse")
        assert not modules & HEAVY
        seconds.append(took)
        time.sleep(0.1)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "module",
    ["schema", "runs", "media", "datasets", "fusion", "calibration", "metrics.resampling", "stabilizer", "report"],
)
def test_tables_and_statistics_need_neither_torch_nor_ray(module: str) -> None:
    modules, _ = loaded_by(f"import emofuse.{module}")
    assert not modules & HEAVY
