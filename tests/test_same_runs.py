"""The comparison of two runs finds what differs, down to the last bit, and nothing where nothing does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from same_runs import differences

VALUES = np.array([0.1, np.nan, -0.5], dtype=np.float32)


def columns(**changed: object) -> dict[str, object]:
    """The columns of a small predictions table, some of them changed."""
    boxes = pa.array([[0.0, 1.0], None, []], pa.list_(pa.float32()))
    known = {"sample_id": ["a", "b", "c"], "valence": pa.array(VALUES), "face_box": boxes, "width": [1, None, 3]}
    return {**known, **changed}


def run(folder: Path, **changed: object) -> Path:
    """A run whose predictions have these columns."""
    (folder / "predictions").mkdir(parents=True)
    pq.write_table(pa.table(columns(**changed)), folder / "predictions" / "part-0.parquet")
    return folder


def test_equal_runs_have_no_differences(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    for folder, second in ((one, 1.0), (other, 2.0)):
        (folder / "run.json").write_text(json.dumps({"seconds": second}))
        table = pa.table({"loss": [0.5], "seconds": [second]}).replace_schema_metadata({"made": str(second)})
        pq.write_table(table, folder / "history.parquet")
    assert differences(one, other) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"valence": np.nextafter(VALUES, np.float32(1))}, "valence differs in 2 rows, first in row 0"),
        ({"valence": pa.array([0.1, None, -0.5], pa.float32())}, "valence differs in 1 rows, first in row 1"),
        ({"valence": pa.array(VALUES.astype(np.float64))}, "valence is float and double"),
        ({"width": pa.array([1, None, 3], pa.int32())}, "width is int64 and int32"),
        ({"width": [1, 0, 3]}, "width differs in 1 rows, first in row 1: None and 0"),
        ({"face_box": pa.array([[0.0, 1.0], [], []], pa.list_(pa.float32()))}, "face_box differs in 1 rows"),
        ({"face_box": pa.array([[-0.0, 1.0], None, []], pa.list_(pa.float32()))}, "face_box differs in 1 rows"),
        ({"luma": [1.0, 2.0, 3.0]}, "luma is only in the second"),
    ],
    ids=["last bit", "null for NaN", "float64", "int32", "value for null", "empty for null", "sign of 0", "new column"],
)
def test_one_changed_column_is_named(tmp_path: Path, changed: dict[str, object], said: str):
    (found,) = differences(run(tmp_path / "one"), run(tmp_path / "other", **changed))
    assert found.startswith(f"predictions: {said}")


def test_a_missing_row_is_found(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    pq.write_table(pa.table(columns()).slice(0, 2), other / "predictions" / "part-0.parquet")
    found = differences(one, other)
    assert "predictions: sample_id has 3 and 2 rows" in found
    assert len(found) == len(columns())


def test_a_missing_file_is_found(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    pq.write_table(pa.table({"p": [0.5]}), other / "comparisons.parquet")
    assert differences(one, other) == [f"comparisons.parquet: only in {other}"]
    assert differences(other, one) == [f"comparisons.parquet: only in {other}"]


def test_nothing_to_compare_is_a_difference(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert differences(empty, empty)
    assert differences(run(tmp_path / "one"), empty) == [f": nothing to compare in {empty}"]


def test_the_cut_into_parts_does_not_matter(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    (other / "predictions" / "part-0.parquet").unlink()
    for name, start in (("part-x", 1), ("part-y", 0)):
        part = pa.table(columns()).slice(start, 2 if start else 1)
        pq.write_table(part, other / "predictions" / f"{name}.parquet")
    assert differences(one, other) == []


def test_a_hash_in_a_file_name_does_not_matter(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    for folder, name in ((one, "features-0f"), (other, "features-1e")):
        (folder / "features").mkdir()
        pq.write_table(pa.table({"key": ["a"], "features": [[0.5, 1.5]]}), folder / "features" / f"{name}.parquet")
    assert differences(one, other) == []


def test_renamed_columns_systems_folders_and_keys(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, word in ((one, "steady"), (other, "smoothed")):
        (folder / word).mkdir(parents=True)
        table = pa.table({f"{word}_valence": [0.5], "system": [word], "subset": ["steady"]})
        pq.write_table(table, folder / word / "metrics.parquet")
        (folder / "calibration.json").write_text(json.dumps({word: {"scale": [1.5]}}))
    names = {"steady": "smoothed", "steady_valence": "smoothed_valence"}
    assert differences(one, other, names) == []
    assert differences(one, other)


def test_calibrations_and_heads_are_compared_by_their_numbers(tmp_path: Path):
    folders = tmp_path / "one", tmp_path / "other"
    for folder, value in zip(folders, (0.1, np.nextafter(0.1, 1)), strict=True):
        folder.mkdir()
        (folder / "calibration.json").write_text(json.dumps({"made": folder.name, "experts": [{"pooled": value}]}))
        card = {"card": json.dumps({"labels": {"mean": [value]}, "licence": folder.name})}
        save_file({"weight": np.array([[value]])}, folder / "head.safetensors", card)
    assert [line.split(" differs")[0] for line in differences(*folders)] == [
        "calibration.json: experts/0/pooled",
        "head.safetensors: card/labels/mean/0",
        "head.safetensors: weight",
    ]
    assert differences(folders[0], folders[0]) == []


def test_the_command_says_what_differs_and_fails(tmp_path: Path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other", width=[1, None, 4])
    command = [sys.executable, str(Path(__file__).with_name("same_runs.py")), str(one)]
    same = subprocess.run([*command, str(one)], capture_output=True, text=True)
    assert (same.returncode, same.stdout) == (0, "predictions: 3 × 4 equal\n")
    changed = subprocess.run([*command, str(other)], capture_output=True, text=True)
    assert changed.returncode == 1
    assert changed.stdout == "predictions: 3 × 4 width differs in 1 rows, first in row 2: 3 and 4\n"
