"""The choice among the configurations of a stabilizer sweep, and the surface as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.config import SweepConfig
from emofuse.errors import DataError
from emofuse.stabilizer.tuned import GATES
from emofuse.tables.schema import with_metadata
from emofuse.tuning.one_standard_error import HeldOut, Losses, standard_error
from emofuse.tuning.stabilizer.surface import PAIRS, PARAMETERS

RULE = (
    "the quickest to respond, behind the fewest gates, of those whose loss exceeds the least by at most one standard "
    "error, both of the least loss and of the difference, over groups of sequences"
)


def evaluated(
    rows: list[dict[str, Any]], sweep: SweepConfig, frame_rate: float, fold: np.ndarray, *, labelled: bool
) -> tuple[pa.Table, HeldOut | None]:
    """The surface with what is minimised, what may be chosen, and which configurations nothing beats.

    The objective is the error where there are labels, else the jitter of configurations that respond in time. One
    that answers too seldom has none either way. So a frozen output cannot win. Chosen is not the least, which may be
    chance, but by `RULE`.

    Args:
        rows: of `surface_of`, one of them doing nothing behind no gate.
        sweep: the bounds.
        frame_rate: Hz.
        fold: (B,), in which each bundle of groups is held out.
        labelled: whether there are labels.

    Returns:
        A table sorted by objective; columns `objective` with its `standard_error`, `difference` to the least with its
        `difference_error`, `within_one_se`, `fold_0`, ... (the objective on that fold), `pareto` (none is calmer,
        quicker and, with labels, more accurate at once) and `chosen` besides those of `surface_of`. And what such a
        choice gives on sequences it has not seen; None with fewer than two groups.
    """
    target = "mae" if labelled else "jitter"
    plain = next(row for row in rows if row["filter"] == "none" and all(row[name] is None for name in GATES))
    slowest = max(1, int(np.floor(sweep.max_response * frame_rate + 1e-9)))
    for row in rows:
        prompt = labelled or row["response_time"] <= slowest
        row["feasible"] = bool(prompt and row["coverage"] >= sweep.min_coverage * plain["coverage"])
        row["objective"] = row[target] if row["feasible"] and np.isfinite(row[target]) else None
    best, held_out = _choice(rows, fold, plain)
    costs = np.array(
        [[row[name] for name in ("response_time", "jitter", "mae")[: 3 if labelled else 2]] for row in rows]
    )
    answers = np.array([row["coverage"] >= sweep.min_coverage * plain["coverage"] for row in rows])
    front = np.zeros(len(rows), dtype=bool)
    front[answers] = pareto(costs[answers])
    last = float("inf")
    order = sorted(
        range(len(rows)),
        key=lambda i: (
            last if rows[i]["objective"] is None else rows[i]["objective"],
            rows[i]["response_time"],
            rows[i]["jitter"],
        ),
    )
    ordered = [rows[i] | {"pareto": bool(front[i]), "chosen": i == best} for i in order]
    names = [*PARAMETERS, *(f"{name}_arousal" for name in PAIRS), "objective"]
    names += [name for name in ordered[0] if name not in (*names, "numerator", "denominator")]
    columns = {name: [row.get(name) for row in ordered] for name in names}
    table = pa.table({name: pa.array(values, _kind(name), from_pandas=True) for name, values in columns.items()})
    about = {"objective": "objective", "measured": target, "parameters": list(PARAMETERS), "rule": RULE}
    return with_metadata(table, **about), held_out


def _choice(rows: list[dict[str, Any]], fold: np.ndarray, plain: dict[str, Any]) -> tuple[int, HeldOut | None]:
    """The number of the row that is chosen, and what choosing gives; each row gets its errors and folds."""
    above, below = (np.stack([row[part] for row in rows]) for part in ("numerator", "denominator"))
    losses = Losses(above, below, fold)
    allowed = np.array([row["objective"] is not None for row in rows])
    distance = np.array([[row["response_time"], sum(row[name] is not None for name in GATES)] for row in rows])
    best, within = losses.choose(distance, allowed)
    if best < 0:
        raise DataError("no configuration could be scored: no frame has an estimate and a label on both axes")
    value, influence = losses.value(), losses.influence()
    least = int(np.argmin(np.where(allowed, value, np.inf)))
    numbers = {
        "standard_error": standard_error(influence),
        "difference": value - value[least],
        "difference_error": standard_error(influence - influence[least]),
        "within_one_se": within,
        **{f"fold_{k}": losses.value(fold == k) for k in np.unique(fold)},
    }
    for i, row in enumerate(rows):
        row |= {name: values[i].item() for name, values in numbers.items()}
    return best, losses.held_out(distance, allowed, next(i for i, row in enumerate(rows) if row is plain))


def pareto(costs: np.ndarray) -> np.ndarray:
    """Which rows of (N, K) costs no other row equals or beats in all and beats in one; NaN never."""
    front = np.zeros(len(costs), dtype=bool)
    best = np.empty((0, costs.shape[1]))
    for i in np.lexsort(costs.T[::-1]):
        if not np.isfinite(costs[i]).all() or (best <= costs[i]).all(axis=1).any():
            continue
        front[i] = True
        best = np.vstack([best, costs[i]])
    return front


def _kind(name: str) -> pa.DataType:
    if name == "filter":
        return pa.string()
    return pa.bool_() if name in ("feasible", "within_one_se", "pareto", "chosen") else pa.float64()
