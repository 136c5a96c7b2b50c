"""The table of systems on a terminal: the same numbers as the page's."""

from __future__ import annotations

import pyarrow as pa
from rich.table import Table

from emofuse.affect import AXES
from emofuse.report.tables import SUBSET_NAMES, Estimate, decimal, interval, metric_name, systems
from emofuse.report.verdicts import summary_sentences

__all__ = ["summary_sentences", "systems_table"]

COLUMNS = ("mae", "rmse", "ccc", "pearson", "sagr")


def systems_table(
    metrics: pa.Table,
    *,
    subset: str = "all",
    split: str | None = None,
    in_sample: bool = False,
    columns: tuple[str, ...] = COLUMNS,
) -> Table:
    """The systems side by side, both axes, as rich prints them.

    Args:
        metrics: a table of `schema.METRICS`.
        subset: "all", "face" or "no_face".
        split: the split; by default the one of the headline.
        in_sample: whether to show the rows an expert was trained on instead of the others.
        columns: the metrics to show; those nobody has are left out.
    """
    blocks = [systems(metrics, a, subset=subset, split=split, in_sample=in_sample, wanted=columns) for a in AXES]
    shown = [metric for metric in columns if any(metric in block.metrics for block in blocks)]
    kind = "in sample, not a result" if in_sample else "pictures new to the experts"
    table = Table(title=f"Systems on split {blocks[0].split}: {SUBSET_NAMES.get(subset, subset)}, {kind}")
    table.add_column("axis")
    table.add_column("system", no_wrap=True)
    for metric in shown:
        table.add_column(metric_name(metric), justify="right")
    table.add_column("n", justify="right")
    for block in blocks:
        for place, row in enumerate(block.rows):
            cells = dict(zip(block.metrics, row.cells, strict=True))
            table.add_row(
                block.axis if place == 0 else "",
                row.name,
                *(_cell(cells.get(metric), bounds=metric == shown[0]) for metric in shown),
                f"{row.n:,}",
                end_section=place == len(block.rows) - 1,
            )
    return table


def _cell(estimate: Estimate | None, *, bounds: bool) -> str:
    if estimate is None:
        return "–"
    # A bracket would be markup to rich; the first metric alone carries its interval, or 80 columns do not hold.
    limits = interval(estimate.low, estimate.high).replace("[", r"\[") if bounds else ""
    return f"{decimal(estimate.value)} {limits}".strip()
