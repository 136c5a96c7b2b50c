"""`emofuse experiments`: every run below a folder, training, calibration, stabilizer and fusion alike, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.table import Table

from emofuse.affect import AXES
from emofuse.runs.collect import collect

DESCRIPTION = "Every run below a folder, training, calibration, stabilizer and fusion alike, as one table."


@dataclass(frozen=True)
class Options:
    """Options of `emofuse experiments`."""

    runs: Annotated[Path, tyro.conf.Positional]
    """The folder below which every run.json is read."""
    out: Path | None = None
    """The Parquet file to write; by default experiments.parquet in that folder."""


def main(options: Options) -> None:
    """Collect, write, show."""
    table = collect(options.runs)
    out = options.out or options.runs / "experiments.parquet"
    pq.write_table(table, out)
    console = Console()
    console.print(table_of(table))
    console.print(f"{table.num_rows} runs written to {out}", highlight=False)


def table_of(table: pa.Table) -> Table:
    """The runs for the terminal: what ran, and what it reached on rows it was not fitted to."""
    shown = Table(title="figures on held-out rows", title_justify="left")
    for name in ("run", "kind", "setting", "rows", "held out"):
        shown.add_column(name, overflow="fold")
    for axis in AXES:
        for figure in ("CCC", "MAE"):
            shown.add_column(f"{axis} {figure}", justify="right")
    for row in table.to_pylist():
        values = [row[f"{axis}_{figure}"] for axis in AXES for figure in ("ccc", "mae")]
        named = [row["run"], row["kind"], row["setting"], str(row["rows"] or ""), row["held_out"] or "–"]
        shown.add_row(*named, *("–" if value is None else f"{value:.3f}" for value in values))
    return shown
