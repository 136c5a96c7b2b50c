"""The fusion in each subgroup, and the largest gap between two: for the page and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from emofuse.affect import AXES
from emofuse.report.tables import Estimate, decimal, interval, metric_name, system_name

SHOWN = (("fused", "mae"), ("scene", "mae"), ("fused", "ccc"), ("fused", "bias"))
"""What a page has room for; subgroups.parquet has every system and metric."""
MACRO = "mean of these"
NARROW = 3
"""Cells that fit into 80 columns of a terminal."""


@dataclass(frozen=True)
class SubgroupsTable:
    """The subgroups of one column on one axis.

    Attributes:
        by: the column.
        axis: of the estimates.
        heads: what each cell is.
        rows: value, cells in the order of `heads` (None where there is none), images and groups.
        gap: what is told of the largest gap; empty where there are not two subgroups of two groups.
    """

    by: str
    axis: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Estimate | None, ...], int, int], ...]
    gap: str


def subgroup_tables(table: pa.Table) -> list[SubgroupsTable]:
    """One table for each column and axis.

    Args:
        table: of `schema.SUBGROUPS`.
    """
    rows = table.to_pylist()
    columns = list(dict.fromkeys(row["by"] for row in rows))
    return [_of([row for row in rows if (row["by"], row["axis"]) == (by, axis)], by, axis)
            for by in columns for axis in AXES]  # fmt: skip


def _of(rows: list[dict[str, object]], by: str, axis: str) -> SubgroupsTable:
    cells: dict[str, dict[tuple[str, str], Estimate]] = {}
    for row in rows:
        if row["kind"] != "gap":
            value = MACRO if row["kind"] == "macro" else str(row["value"])
            cells.setdefault(value, {})[str(row["system"]), str(row["metric"])] = _estimate(row)
    shown = [key for key in SHOWN if any(key in of for of in cells.values())]
    order = [*(value for value in cells if value != MACRO), *(value for value in cells if value == MACRO)]
    made = []
    for value in order:
        of = tuple(cells[value].get(key) for key in shown)
        first = next((one for one in of if one is not None), None)
        if first is not None:
            made.append((value, of, first.n, first.n_groups))
    gap = next((_gap(row) for row in rows if row["kind"] == "gap"), "")
    heads = tuple(f"{metric_name(metric)}, {system_name(system).lower()}" for system, metric in shown)
    return SubgroupsTable(by, axis, heads, tuple(made), gap)


def _estimate(row: dict[str, object]) -> Estimate:
    value, low, high = (_number(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    return Estimate(value, low, high, int(str(row["n"])), int(str(row["n_groups"])), math.nan)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _gap(row: dict[str, object]) -> str:
    value, low, high = (_number(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    shown = "which leaves out 0" if low > 0 else "which includes 0: no gap is shown"
    return (
        f"Largest gap in {metric_name(str(row['metric']))} of {row['axis']}, "
        f"{system_name(str(row['system'])).lower()}: "
        f"{row['by']} {row['value']} less {row['against']}, {decimal(value, sign=True)} {interval(low, high)}, {shown} "
        f"(the interval holds for all {row['pairs']} pairs of subgroups and axes at once, by Bonferroni)."
    )


def terminal_tables(table: pa.Table) -> tuple[list[Table], list[str]]:
    """The same for the terminal: tables and sentences."""
    found = subgroup_tables(table)
    made = []
    for one in found:
        shown = Table(
            title=Text(f"{one.axis.capitalize()} by {one.by}"), title_justify="left", box=SIMPLE, pad_edge=False
        )
        shown.add_column(one.by, no_wrap=True)
        for head in one.heads[:NARROW]:
            shown.add_column(head, justify="right", no_wrap=True)
        shown.add_column("n", justify="right", no_wrap=True)
        for value, cells, n, _ in one.rows:
            texts = [_cell(cell, bounds=not at) for at, cell in enumerate(cells[:NARROW])]
            shown.add_row(Text(value), *map(Text, texts), f"{n:,}")
        made.append(shown)
    return made, [one.gap for one in found if one.gap]


def _cell(cell: Estimate | None, *, bounds: bool) -> str:
    """A value; only the first of a row with its interval, or 80 columns would not hold it."""
    if cell is None:
        return "–"
    return f"{decimal(cell.value)} {interval(cell.low, cell.high) if bounds else ''}".strip()
