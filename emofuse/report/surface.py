"""The surface of a sweep: what each option does to the objective, and the front of jitter and response."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from emofuse.affect import AXES
from emofuse.report.drawing import ACCENT, INK, MUTED, Plot, draw
from emofuse.report.run_folder import RunFolder
from emofuse.report.tables import decimal, metric_name
from emofuse.tables import schema

OBJECTIVES = ("objective", "score", "loss", "mae", "mae_avg", "nll")
"""Columns that are minimised, by preference, where the table's metadata names no `objective`."""
MEASURED = ("value", "ci_low", "ci_high", "se", "std", "n", "rank", "seconds", "chosen", "pareto", "within_one_se")
MAX_PARAMETERS = 12
_FRONTS: list[dict[str, Any]] = [
    {"color": ACCENT, "marker": "o", "markersize": 4},
    {"color": INK, "marker": "s", "markersize": 4, "linestyle": (0, (5, 2))},
    {"color": MUTED, "marker": "D", "markersize": 4, "linestyle": (0, (1, 1.5))},
    {"color": ACCENT, "marker": "^", "markersize": 5, "linestyle": (0, (5, 2))},
    {"color": INK, "marker": "v", "markersize": 5, "linestyle": (0, (1, 1.5))},
]
_MEDIAN: dict[str, Any] = {
    "color": MUTED,
    "marker": "o",
    "markersize": 3.5,
    "linestyle": (0, (4, 3)),
    "label": "median",
}
_BEST: dict[str, Any] = {"color": ACCENT, "marker": "o", "markersize": 4.5, "linestyle": "-", "label": "best"}
MAX_LEVELS = 14
POINTS = 500
"""At most so many configurations of a filter are drawn beside its front."""
ROOM = 32
"""Characters that fit below one panel."""


def plots(run: RunFolder) -> list[Plot]:
    """The figures of surface.parquet; none where the run is no sweep."""
    table = run.surface
    if not table.num_rows:
        return []
    made = [by_parameter(table), front(table)]
    return [plot for plot in made if plot is not None]


def by_parameter(table: pa.Table) -> Plot | None:
    """The best and the median objective at each value of each option that was varied."""
    objective = objective_of(table)
    if objective is None:
        return None
    value, label = _floats(table, objective), _objective_name(table, objective)
    names = [name for name in parameters_of(table, objective) if len(set(table.column(name).to_pylist())) > 1]
    names = names[:MAX_PARAMETERS]

    def paint(name: str, axes: Axes) -> str:
        levels, number = _levels(table.column(name).to_pylist())
        here = [value[(number == k) & np.isfinite(value)] for k in range(len(levels))]
        best = [float(v.min()) if len(v) else np.nan for v in here]
        median = [float(np.median(v)) if len(v) else np.nan for v in here]
        at = np.arange(len(levels))
        # Only what has an order is joined by a line.
        ordered = np.array([number_like(level) for level in levels])
        for heights, style in ((median, _MEDIAN), (best, _BEST)):
            axes.plot(at, np.where(ordered, heights, np.nan), **style)
            axes.plot(at, np.where(ordered, np.nan, heights), **style | {"linestyle": "none", "label": None})
        every = 1 if sum(map(len, levels)) <= ROOM else 2
        tilt = 0 if sum(map(len, levels[::every])) <= ROOM else 40
        axes.set_xticks(
            at[::every], levels[::every], rotation=tilt, ha="right" if tilt else "center", rotation_mode="anchor"
        )
        axes.set(xlabel=name.replace("_", " "), ylabel=f"{label} (lower is better)")
        axes.legend(handles=[Line2D([], [], **style) for style in (_MEDIAN, _BEST)], loc="best")
        k = int(np.nanargmin(best))
        return f"{name.replace('_', ' ')}: best {label} {decimal(best[k], 4)} at {levels[k]}."

    if not names or not np.isfinite(value).any():
        return None
    panels = tuple(draw(f"surface-{k}", partial(paint, name)) for k, name in enumerate(names))
    caption = (
        f"{table.num_rows:,} configurations. At each value of an option: the best and the median over all others. "
        f"The whole surface stands in surface.parquet. {_rule(table)}"
    ).strip()
    return Plot("surface", "Surface of the sweep", panels, caption)


def chosen(table: pa.Table) -> list[tuple[str, str]]:
    """The configuration that was chosen and what it measured, as pairs of name and text; empty where none is marked."""
    if "chosen" not in table.column_names:
        return []
    rows = table.filter(table.column("chosen")).to_pylist()
    if not rows:
        return []
    unsaid = {"chosen", "pareto", "feasible"}
    # What was measured stands for both axes; the table has each.
    unsaid |= {name for name in rows[0] if name.endswith(AXES) and "threshold" not in name and "process" not in name}
    return [(k.replace("_", " "), _label(v)) for k, v in rows[0].items() if v is not None and k not in unsaid]


def front(table: pa.Table) -> Plot | None:
    """Jitter over response time, with the front of configurations that nothing beats in both."""
    if not {"jitter", "response_time"} <= set(table.column_names):
        return None
    x, y = _floats(table, "response_time"), _floats(table, "jitter")
    ok = np.isfinite(x) & np.isfinite(y)
    if not ok.any():
        return None
    filters = np.array([str(f) for f in table.column("filter").to_pylist()]) if "filter" in table.column_names else None

    def paint(axes: Axes) -> str:
        for k, name in enumerate(dict.fromkeys(filters[ok]) if filters is not None else ["configurations"]):
            mine = ok if filters is None else ok & (filters == name)
            edge = _front(x[mine], y[mine])
            some = np.flatnonzero(mine)[:: max(1, int(mine.sum()) // POINTS)]
            axes.scatter(x[some], y[some], s=5, color=MUTED, alpha=0.25, linewidths=0)
            axes.plot(*edge, label=str(name).replace("_", " "), **_FRONTS[k % len(_FRONTS)])
        axes.set(xlabel="response time (frames to 90 % of a step)", ylabel="jitter (reference units per frame)")
        axes.legend(loc="upper right")
        return f"{int(ok.sum()):,} configurations; each line joins those that none of its filter beats in both."

    caption = "Compare filters at equal response time: a frozen output has no jitter and never responds."
    return Plot("front", "Jitter and response", (draw("front-all", paint),), caption)


def objective_of(table: pa.Table) -> str | None:
    """The column that was minimised: the one the table's metadata names, else the first of `OBJECTIVES` it has."""
    named = schema.read_metadata(table.schema).get("objective")
    candidates = ([named] if isinstance(named, str) else []) + list(OBJECTIVES)
    return next((name for name in candidates if name in table.column_names), None)


def parameters_of(table: pa.Table, objective: str) -> list[str]:
    """The options varied: those the table's metadata names, else every column before the objective."""
    named = schema.read_metadata(table.schema).get("parameters")
    if isinstance(named, list):
        return [str(name) for name in named if name in table.column_names]
    before = table.column_names[: table.column_names.index(objective)]
    return [name for name in before if name not in MEASURED]


def _objective_name(table: pa.Table, objective: str) -> str:
    """What the objective measures, of the table's metadata; empty where they lack it."""
    measured = schema.read_metadata(table.schema).get("measured")
    return metric_name(measured if isinstance(measured, str) else objective)


def _rule(table: pa.Table) -> str:
    """By which rule one configuration was chosen, where the table's metadata says."""
    rule = schema.read_metadata(table.schema).get("rule")
    return f"Chosen: {rule}." if isinstance(rule, str) else ""


def _levels(values: list[object]) -> tuple[list[str], np.ndarray]:
    """The distinct values in order, many numbers gathered into equal-count bins, and which one each row has."""
    distinct = sorted(set(values), key=lambda v: (v is None, isinstance(v, str), v if v is not None else 0))
    numeric = [value for value in distinct if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numeric) <= MAX_LEVELS or len(numeric) + (None in distinct) < len(distinct):
        shown = distinct[: 2 * MAX_LEVELS]
        place = {value: k for k, value in enumerate(shown)}
        return [_label(value) for value in shown], np.array([place.get(value, -1) for value in values])
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, MAX_LEVELS)))
    middle = (edges[:-1] + edges[1:]) / 2
    level = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(middle) - 1)
    return [_label(float(m)) for m in middle], np.where(known, level, -1)


def number_like(text: str) -> bool:
    """Whether a level's label is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _label(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not used" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value).replace("_", " ")


def _front(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points no other beats in both, by rising x."""
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    keep = y < np.minimum.accumulate(np.concatenate([[np.inf], y[:-1]]))
    return x[keep], y[keep]


def _floats(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
