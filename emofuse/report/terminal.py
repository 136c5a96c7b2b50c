"""The table of systems on a terminal: the same numbers as the page's."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from emofuse.affect import AXES
from emofuse.report.run_folder import open_run
from emofuse.report.subgroups import terminal_tables
from emofuse.report.tables import STAND_INS, SUBSET_NAMES, Estimate, decimal, interval, metric_name, systems
from emofuse.report.verdicts import face_weights, summary_sentences
from emofuse.tables.splits import HELD_OUT

__all__ = ["overview", "summary_sentences", "systems_table"]

COLUMNS = ("mae", "ccc", "pearson", "sagr")
"""What fits into 80 columns; the page and metrics.parquet have all."""
NARROWEST = 60


def overview(run_dir: str | Path) -> tuple[list[Table], list[str]]:
    """The head of a run's page for the terminal: tables and sentences with the same numbers.

    Rows that an expert was trained on are shown only where there are no others, and marked.

    Args:
        run_dir: a run directory; tables that it lacks count as empty.

    Raises:
        DataError: if it is no run directory, or a table in it is not what it should be.
    """
    run = open_run(run_dir)
    inside = [row["in_sample"] for row in run.metrics.to_pylist() if row["subset"] == "all"]
    note = STAND_INS if run.dataset.get("demonstration") else None
    made = []
    if run.metrics.num_rows:
        made.append(systems_table(run.metrics, split=run.split, in_sample=bool(inside) and all(inside), note=note))
    weight = face_weights(run.fused, run.evaluated)
    tables, gaps = terminal_tables(run.subgroups)
    return made + tables, [*summary_sentences(run.metrics, run.comparisons, face_weight=weight, split=run.split), *gaps]


def systems_table(
    metrics: pa.Table,
    *,
    subset: str = "all",
    split: str | None = None,
    in_sample: bool = False,
    columns: tuple[str, ...] = COLUMNS,
    note: str | None = None,
) -> Table:
    """The systems side by side, both axes, as rich prints them.

    Args:
        metrics: a table of `schema.METRICS`.
        subset: "all", "face" or "no_face".
        split: the split; by default the one of the headline.
        in_sample: whether to show the rows an expert was trained on instead of the others.
        columns: the metrics to show; those nobody has are left out.
        note: a line below the table, such as what the labels are.
    """
    blocks = [systems(metrics, a, subset=subset, split=split, in_sample=in_sample, wanted=columns) for a in AXES]
    shown = [metric for metric in columns if any(metric in block.metrics for block in blocks)]
    table = Table(title=_title(blocks[0].split, subset, in_sample), title_justify="left", box=SIMPLE, pad_edge=False)
    table.caption, table.caption_justify = note, "left"
    table.add_column("system", no_wrap=True)
    for metric in shown:
        table.add_column(metric_name(metric), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for block in (block for block in blocks if block.rows):
        table.add_row(Text(block.axis.upper(), style="dim"))
        for row in block.rows:
            cells = dict(zip(block.metrics, row.cells, strict=True))
            texts = [_cell(cells.get(metric), bounds=metric == shown[0]) for metric in shown]
            style = "bold" if row.system == "fused" else ""
            table.add_row(Text(row.name), *map(Text, texts), Text(f"{row.n:,}"), style=style)
        table.add_section()
    if not any(block.rows for block in blocks):
        table.min_width = NARROWEST
        table.add_row("no score")
    return table


def _title(split: str, subset: str, in_sample: bool) -> str:
    where = {"all": "all splits", HELD_OUT: "held out"}.get(split, f"split {split}")
    return f"{SUBSET_NAMES.get(subset, subset).capitalize()}, {where}" + (", in sample: no result" if in_sample else "")


def _cell(estimate: Estimate | None, *, bounds: bool) -> str:
    """A value; the first metric alone carries its interval, or 80 columns would not hold the table."""
    if estimate is None:
        return "–"
    limits = interval(estimate.low, estimate.high) if bounds else ""
    return f"{decimal(estimate.value)} {limits}".strip()
