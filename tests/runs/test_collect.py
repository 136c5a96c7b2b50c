"""One table of every run: training, calibration, stabilizer and fusion alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse.errors import ConfigError
from emofuse.runs.collect import EXPERIMENTS, collect
from emofuse.tables.schema import METRICS

JOB = Path(__file__).resolve().parents[2] / "jobs" / "experiments.py"


def write(folder: Path, record: dict[str, Any], *, finished: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"emofuse": "0.1.0", **record}))
    if finished:
        (folder / "_SUCCESS").touch()
    return folder


def figures(value: float) -> dict[str, float]:
    return {"pearson": value, "ccc": value - 0.1, "mae": 0.3}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    training = {"head": "linear", "learning_rate": 1e-3, "dropout": 0.7}
    trained = {
        "kind": "train", "started": "2026-01-02", "config": {"backbone": "embedded", "expert": "scene"},
        "served": "frozen", "seconds": 12.5, "counts": {"manifest": 551, "usable": 551, "train": 390, "valid": 79},
        "metrics": {"out_of_fold": {"valence": figures(0.6), "arousal": figures(0.5)}, "valid": None},
        "head": {"training": training}, "search": {"chosen": training},
    }  # fmt: skip
    write(tmp_path / "a" / "scene", trained)
    evaluate = {"config": {"evaluate": {"fusion": {"method": "equal"}}}, "split": "test", "counts": {"in": 82, "out": 82}}
    fused = write(tmp_path / "fused", {"started": "2026-01-03", "dataset": {"title": "OASIS"}, **evaluate})
    rows = [
        {"system": system, "split": "test", "in_sample": sample, "subset": "all", "axis": axis, "metric": "mae",
         "value": value, "n": 82, "n_groups": 20}
        for system, sample, axis, value in (
            ("fused", False, "valence", 0.25), ("fused", False, "arousal", 0.2), ("fused", True, "valence", 0.01),
            ("scene", False, "valence", 0.9),
        )
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=METRICS), fused / "metrics.parquet")
    write(tmp_path / "c", {"kind": "calibration", "started": "2026-01-01", "chosen": {"l2": 0.1}}, finished=False)
    write(tmp_path / "s", {"sweep": {}, "chosen": {"alpha": 0.5}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("not ours")
    return tmp_path


def test_every_run_is_a_row_whatever_its_kind(runs: Path) -> None:
    table = collect(runs)
    assert table.schema == EXPERIMENTS
    rows = {row["run"]: row for row in table.to_pylist()}
    assert {name: row["kind"] for name, row in rows.items()} == {
        "a/scene": "train", "fused": "fusion", "c": "calibration", "s": "stabilizer",
    }  # fmt: skip
    assert [row["finished"] for row in rows.values()] == [True, False, True, True]
    assert table.column("started").to_pylist() == [None, "2026-01-01", "2026-01-02", "2026-01-03"]


def test_figures_are_those_of_rows_that_were_not_fitted(runs: Path) -> None:
    rows = {row["run"]: row for row in collect(runs).to_pylist()}
    assert (rows["a/scene"]["valence_pearson"], rows["a/scene"]["held_out"]) == (0.6, "out of fold")
    assert rows["a/scene"]["setting"] == "scene, embedded, linear, frozen, rate 0.001"
    assert json.loads(rows["a/scene"]["chosen"])["dropout"] == 0.7
    assert (rows["fused"]["valence_mae"], rows["fused"]["arousal_mae"]) == (0.25, 0.2)
    assert (rows["fused"]["held_out"], rows["fused"]["data"], rows["fused"]["rows"]) == ("test", "OASIS", 82)
    assert rows["c"]["valence_mae"] is None


def test_the_job_writes_the_table_and_shows_it(runs: Path) -> None:
    done = subprocess.run([sys.executable, JOB, runs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(runs / "experiments.parquet").num_rows == 4
    assert "4 runs written" in done.stdout


def test_a_folder_without_runs_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run\.json below"):
        collect(tmp_path)
