"""The terminal shows the page's numbers within 80 columns."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from emofuse.report.tables import decimal, interval, systems
from emofuse.report.terminal import overview, systems_table


def printed(table: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_numbers_are_those_of_the_table(run_dir: Path) -> None:
    metrics = pq.read_table(run_dir / "metrics.parquet")
    text = printed(systems_table(metrics))
    for axis in ("valence", "arousal"):
        for row in systems(metrics, axis, wanted=("mae", "ccc")).rows:
            line = next(line for line in text.split(axis.upper())[1].splitlines() if row.name in line)
            assert all(decimal(cell.value) in line for cell in row.cells if cell)
            assert interval(row.cells[0].low, row.cells[0].high) in line
            assert line.split()[-1] == str(row.n)


def test_a_correlation_of_four_images_is_not_shown(run_dir: Path) -> None:
    rows = pq.read_table(run_dir / "metrics.parquet").to_pylist()
    for n, shown in ((4, False), (5, True)):
        few = pa.Table.from_pylist([{**row, "n": n} for row in rows], pq.read_schema(run_dir / "metrics.parquet"))
        cells = systems(few, "valence", wanted=("mae", "ccc")).rows[0].cells
        assert [math.isfinite(cell.value) and math.isfinite(cell.low) for cell in cells] == [True, shown]


def test_fits_eighty_columns(run_dir: Path) -> None:
    text = printed(systems_table(pq.read_table(run_dir / "metrics.parquet")))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_in_sample_stands_apart(run_dir: Path) -> None:
    metrics = pq.read_table(run_dir / "metrics.parquet")
    out, inside = printed(systems_table(metrics)), printed(systems_table(metrics, in_sample=True))
    assert "in sample" not in out
    assert "in sample: no result" in inside
    assert out.splitlines()[5:] != inside.splitlines()[5:]


def test_note_and_markup_in_names(run_dir: Path) -> None:
    rows = pq.read_table(run_dir / "metrics.parquet").to_pylist()
    rows = [row | {"system": "[red]odd[/red]"} if row["system"] == "equal" else row for row in rows]
    metrics = pa.Table.from_pylist(rows, schema=pq.read_schema(run_dir / "metrics.parquet"))
    text = printed(systems_table(metrics, note="stand-ins"))
    assert "[red]odd[/red]" in text
    assert "stand-ins" in text


def test_overview_says_what_the_page_says(run_dir: Path) -> None:
    (table,), sentences = overview(run_dir)
    assert "stand-ins, few, and for demonstration only" in printed(table)
    assert [sentence.split(":")[0] for sentence in sentences] == ["Valence", "Arousal"]
    assert all("face’s mean weight" in sentence for sentence in sentences)


def test_overview_of_rows_that_trained_an_expert(run_dir: Path, tmp_path: Path) -> None:
    metrics = pq.read_table(run_dir / "metrics.parquet")
    rows = [row for row in metrics.to_pylist() if row["in_sample"]]
    pq.write_table(pa.Table.from_pylist(rows, schema=metrics.schema), tmp_path / "metrics.parquet")
    (tmp_path / "run.json").write_text((run_dir / "run.json").read_text())
    (table,), (sentence,) = overview(tmp_path)
    assert "in sample: no result" in printed(table)
    assert sentence.startswith("Nothing may be concluded")
