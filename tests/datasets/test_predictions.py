"""External predictions as a predictions table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse.datasets import CONVERTERS, with_splits
from emofuse.datasets.base import REPEATED, STRADDLING
from emofuse.datasets.predictions import Columns
from emofuse.datasets.splits import shares
from emofuse.errors import ConfigError, DataError
from emofuse.tables import schema

build = CONVERTERS["predictions"]

TABLE = """name,v,a,sv,sa,fv,fa,fs_v,fs_a,who,part
a.jpg,1,7,4,4,7,1,1.5,3,x,train
b.jpg,4,4,8.5,4,,,,,x,train
c.jpg,,,,,4,4,0,nan,y,validation
d.jpg,7,1,,,,,,,z,test
d.jpg,7,1,1,1,,,,,z,test
"""
COLUMNS = Columns(
    path="name",
    labels=("v", "a"),
    scene=("sv", "sa"),
    face=("fv", "fa"),
    face_spread=("fs_v", "fs_a"),
    group="who",
    split_column="part",
)


def rows_of(table: pa.Table) -> dict[str, dict[str, object]]:
    return {row["path"]: row for row in table.to_pylist()}


def test_columns_and_units_by_name(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text(TABLE)
    built = build(str(tmp_path / "theirs.csv"), scale="oasis", spread="std", columns=COLUMNS)
    assert built.table.schema.names[: len(schema.PREDICTIONS)] == schema.PREDICTIONS.names
    assert schema.conform(built.table, schema.PREDICTIONS, "predictions").num_rows == 4
    rows = rows_of(built.table)
    a, b, c, d = (rows[f"{name}.jpg"] for name in "abcd")
    assert (a["valence"], a["arousal"], a["scene_valence"], a["face_valence"], a["face_arousal"]) == (-1, 1, 0, 1, -1)
    assert a["face_valence_variance"] == pytest.approx(0.25)  # (1.5 / 3) squared
    assert a["face_arousal_variance"] == pytest.approx(1.0)
    assert b["scene_valence"] == pytest.approx(1.5)  # a prediction may leave the scale
    assert (c["face_valence_variance"], c["face_variance_source"], a["face_variance_source"]) == (None, "none", "model")
    assert [row["status"] for row in (a, b, c, d)] == ["ok", "no_face", "ok", "error"]
    assert [row["split"] for row in (a, b, c, d)] == ["train", "train", "valid", "test"]
    assert [row["group"] for row in (a, b, c, d)] == ["x", "x", "y", "z"]
    assert d["error"] == "no prediction"
    assert built.report.dropped == {REPEATED: 1}


def test_a_group_stays_in_the_last_of_its_splits(tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text(TABLE.replace("c.jpg,,,,,4,4,0,nan,y,", "c.jpg,,,,,4,4,0,nan,z,"))
    built = build(str(tmp_path / "theirs.csv"), scale="oasis", spread="std", columns=COLUMNS)
    assert set(rows_of(built.table)) == {"a.jpg", "b.jpg", "d.jpg"}
    assert built.report.dropped == {REPEATED: 1, STRADDLING: 1}


def test_variances_are_in_squared_units(tmp_path: Path) -> None:
    table = pa.table({"image_path": ["a", "b"], "p": [0.0, 3.0], "q": [3.0, 6.0], "u": [9.0, 1.0], "w": [2.25, None]})
    pq.write_table(table, tmp_path / "t.parquet")
    columns = Columns(scene=("p", "q"), scene_spread=("u", "w"))
    built = build(str(tmp_path), scale="findingemo", columns=columns, images=str(tmp_path / "images"))
    rows = rows_of(built.table)
    assert rows["a"]["scene_valence_variance"] == pytest.approx(1.0)
    assert rows["a"]["scene_arousal_variance"] == pytest.approx(0.25)
    assert rows["b"]["scene_arousal_variance"] is None
    assert rows["a"]["valence"] is None
    assert rows["a"]["uri"] == str(tmp_path / "images/a")
    assert {row["status"] for row in rows.values()} == {"ok"}


def test_emonet_on_findingemo(shared_data: Path) -> None:
    columns = Columns(face=("emonet_valence", "emonet_arousal"))
    built = build(str(shared_data / "emonet_on_findingemo/predictions.parquet"), scale="findingemo", columns=columns)
    assert set(built.table.column("split").to_pylist()) == {None}
    rows = with_splits(built, shares("70/15/15"), 0).table.to_pandas()
    assert len(rows) == 13_789
    assert rows.status.value_counts().to_dict() == {"no_face": 8_545, "ok": 5_244}
    # The table's own means: emonet_valence -0.574755 on -3…3, arousal label 2.922619 on 0…6.
    assert rows.face_valence.mean() == pytest.approx(-0.574755 / 3, abs=1e-5)
    assert rows.arousal.mean() == pytest.approx(2.922619 / 3 - 1, abs=1e-5)
    assert rows.groupby("group").split.nunique().max() == 1
    np.testing.assert_allclose(
        rows.split.value_counts(normalize=True)[["train", "valid", "test"]], [0.7, 0.15, 0.15], atol=0.01
    )


@pytest.mark.parametrize(
    ("columns", "scale", "kind", "words"),
    [
        (Columns(path="name"), "oasis", ConfigError, "name an expert's columns"),
        (Columns(path="name", face=("fv", "nope")), "oasis", DataError, "lacks nope"),
        (Columns(path="id", face=("fv", "fa")), "oasis", DataError, "lacks id"),
        (Columns(path="name", labels=("v", "a"), face=("fv", "fa")), "unit", DataError, "outside the unit scale"),
        (Columns(path="name", face=("fv", "fa")), "nope", ConfigError, "unknown scale"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, columns: Columns, scale: str, kind: type[Exception], words: str) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    with pytest.raises(kind, match=words):
        build(str(tmp_path / "t.csv"), scale=scale, columns=columns)
