"""`emofuse prepare`: what it writes, what it tells, its exit status."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from emofuse.datasets import CONVERTERS
from emofuse.tables import schema
from tests.commandline import run_command


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run_command("prepare", *arguments, cwd=cwd)


def test_the_demo_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "demo.parquet"
    done = call("demo", "--out", out)
    assert done.returncode == 0, done.stderr
    table = schema.check_manifest(pq.read_table(out))
    assert table.num_rows == 14
    assert schema.read_metadata(table.schema)["demonstration"] is True
    told = " ".join(done.stdout.replace("│", " ").split())
    for words in ("stand-ins", "read 14", "kept 14", "valence 1 to 7", "licence", f"14 rows written to {out}"):
        assert words in told
    assert [path.name for path in out.parent.iterdir()] == ["demo.parquet"]


def test_a_table_is_prepared_and_what_was_dropped_is_told(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(6):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    lines = "".join(f"{i}.png,{i / 10},0.5,g{i}\n" for i in range(7))
    (tmp_path / "x.csv").write_text("image_path,valence,arousal,group\n" + lines)
    done = call("csv", "--root", ".", "--scale", "unit", "--out", "m.parquet",
                "--split", "50/25/25", "--seed", "3", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1: image missing (first: 6.png)" in done.stdout
    table = pq.read_table(tmp_path / "m.parquet")
    assert all(Path(uri).is_absolute() for uri in table.column("uri").to_pylist())
    assert schema.read_metadata(table.schema)["split_seed"] == 3
    assert set(table.column("split").to_pylist()) == set(schema.SPLITS)


@pytest.mark.parametrize(("step", "narrow"), [(0.25, False), (0.05, True)])
def test_ratings_that_look_as_if_on_another_scale_are_told(tmp_path: Path, step: float, narrow: bool) -> None:
    from PIL import Image

    for i in range(24):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    lines = "".join(f"{i}.png,{1 + i * step},{9 - i / 3}\n" for i in range(24))
    (tmp_path / "x.csv").write_text("image_path,valence,arousal\n" + lines)
    done = call("csv", "--root", tmp_path, "--scale", "sam9", "--out", tmp_path / "m.parquet")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.replace("│", " ").split())
    assert f"valence found 1 to {1 + 23 * step:.4g} in 24 rows" in told
    assert "arousal found 1.333 to 9 in 24 rows" in told
    assert ("valence covers 14% of the scale sam9: are the ratings really on it?" in told) == narrow
    assert "arousal covers" not in told


def test_predictions_are_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_path,valence,arousal,p,q,s,t\na,1,1,5,5,0.5,0.5\nb,9,9,,,,\nc,5,5,1,9,1,1\n")
    done = call("predictions", "--root", tmp_path / "t.csv", "--scale", "sam9", "--face", "p", "q",
                "--face-spread", "s", "t", "--spread", "std", "--out", tmp_path / "p.parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = schema.conform(pq.read_table(tmp_path / "p.parquet"), schema.PREDICTIONS, "predictions")
    assert table.column("status").to_pylist() == ["ok", "no_face", "ok"]
    assert table.column("face_valence").to_pylist() == [0, None, -1]
    assert table.column("face_valence_variance").to_pylist()[0] == pytest.approx(0.125**2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["folder", "--root", "/no/such/folder"], "no folder at /no/such/folder"),
        (["csv", "--root", ".", "--scale", "percent"], "unknown scale 'percent'"),
        (["demo", "--split", "70/15/16"], "--split takes the shares of train, valid, test in steps of 5 %"),
        (["videos", "--root", ".", "--fps", "5", "--every", "2"], "not both"),
        (["folder", "--root", "gopher://x/y"], "gopher"),
    ],
)
def test_a_user_error_is_one_line_and_status_1(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = call(*arguments, "--out", tmp_path / "m.parquet", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert not (tmp_path / "m.parquet").exists()


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call("demo", "--out", tmp_path / "file" / "m.parquet")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot write" in done.stderr


def test_help_names_every_data_set() -> None:
    told = call("--help").stdout
    assert all(f"• {name} " in told for name in CONVERTERS)
