"""Every notebook runs from its first cell to its last on a small run, and shows what it promises.

A notebook finds its run through one environment variable; where that is set outside, that run is used instead.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
VARIABLES = {
    "fusion": "EMOFUSE_RUN",
    "phase0": "EMOFUSE_PHASE0_RUN",
    "calibration": "EMOFUSE_CALIBRATION_RUN",
    "stabilizer": "EMOFUSE_STABILIZER_RUN",
}
"""The variable through which each notebook finds its run."""


def _module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parent / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load(path: str) -> ModuleType:
    """A module of made data that lies beside the tests of its part."""
    file = Path(__file__).parent / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fusion_run(folder: Path) -> Path:
    made: Path = _load("report/fake_run.py").make_run(folder, rows=90)
    return made


def _training(folder: Path) -> Path:
    made: Path = _load("training/small_run.py").make_run(folder)
    return made


def _sweep(folder: Path) -> Path:
    made: Path = _load("tuning/small_sweep.py").make_sweep(folder)
    return made


def _calibration(folder: Path) -> Path:
    import pyarrow.parquet as pq

    from emofuse.config import CalibrationSweepConfig
    from emofuse.tuning.calibration.run import CalibrationJob

    pq.write_table(_load("tuning/miscalibrated.py").table(300), folder / "predictions.parquet")
    few = CalibrationSweepConfig(
        means=("identity", "affine"),
        losses=("mse",),
        l2=(1e-4,),
        variances=("none", "scaling"),
        methods=("inverse_variance", "equal"),
        max_weight_ratio=(),
        min_face_score=(0.6,),
        max_face_std=(),
        min_luma=(),
    )
    fitting = CalibrationJob(options=few, local=True)
    return Path(fitting.run(str(folder / "predictions.parquet"), str(folder / "run")).address)


SMALL_RUNS: dict[str, Callable[[Path], Path]] = {
    "fusion": _fusion_run,
    "phase0": _training,
    "stabilizer": _sweep,
    "calibration": _calibration,
}
"""How a small run is made for a notebook, in a folder that is given."""


def executed(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The code cells of a notebook after it has run."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (emofuse[test])")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (emofuse[test])")
    monkeypatch.setenv(VARIABLES[name], str(run))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _kinds(cells: list[dict]) -> list[str]:
    return [kind for cell in cells for output in cell["outputs"] for kind in output.get("data", {})]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb") if path.stem != "fusion"))
def test_runs_from_first_to_last_cell(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = os.environ.get(VARIABLES[name])
    if given is None and name not in SMALL_RUNS:
        pytest.skip(f"needs a run: set {VARIABLES[name]}")
    cells = executed(name, Path(given) if given else SMALL_RUNS[name](tmp_path), monkeypatch)
    assert all(cell["execution_count"] for cell in cells)
    assert "image/png" in _kinds(cells)


@pytest.mark.slow
def test_fusion_shows_the_report_s_table_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    run = _fusion_run(tmp_path)
    cells = executed("fusion", run, monkeypatch)
    text = "".join(output.get("data", {}).get("text/html", "") for cell in cells for output in cell["outputs"])
    for row in pq.read_table(run / "metrics.parquet").to_pylist():
        if (row["metric"], row["subset"], row["in_sample"]) == ("mae", "all", False):
            ends = "" if row["ci_low"] is None else f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
            assert f"{row['value']:.3f}{ends}" in text
    assert _kinds(cells).count("image/png") == 2


def test_notebooks_are_stored_without_output() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (emofuse[test])")
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert all(not cell.get("outputs") for cell in notebook.cells), path.name
