"""What a sweep measured as tables, and the choice: the simplest within one standard error of the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.errors import DataError
from emofuse.tables.schema import with_metadata
from emofuse.tuning.calibration.grid import GATES, Grid, complexity

PARAMETERS = ("method", "max_weight_ratio", *GATES)
RULE = (
    "the simplest configuration whose loss exceeds the best one's by at most one standard error, "
    "both of the best loss and of the difference, over groups; of equally simple ones the best"
)


def measured(sums: np.ndarray, counts: np.ndarray, complexity: Sequence[int]) -> dict[str, np.ndarray]:
    """What every candidate loses, and which one is chosen.

    Args:
        sums: (C, B), losses of each bundle of groups, summed over its rows; NaN = not to be had.
        counts: (B,), its rows.
        complexity: (C,), free numbers of each candidate.

    Returns:
        `objective` (mean loss), `standard_error` over groups, `difference` to the best with `difference_error`,
        its standard error, `complexity`, `within_one_se` and `chosen`, each (C,).

    Raises:
        DataError: if none could be scored.
    """
    used = counts > 0
    sums, counts = sums[:, used], counts[used]
    value, error = mean_and_error(sums, counts)
    if not np.isfinite(value).any():
        raise DataError("no configuration of the sweep could be fitted and scored on valid; it may have too few rows")
    best = int(np.nanargmin(value))
    difference, apart = mean_and_error(sums - sums[best], counts)
    within = (difference <= apart) & (difference <= error[best])
    within[best] = True
    free = np.array(complexity)
    made = {"objective": value, "standard_error": error, "difference": difference, "difference_error": apart}
    chosen = np.arange(len(value)) == choose(value, free, within)
    return made | {"complexity": free, "within_one_se": within, "chosen": chosen}


def surface_table(grid: Grid, sums: np.ndarray, counts: np.ndarray, objective: str) -> pa.Table:
    """Rules and gates behind the chosen layers: one row per configuration, in the order of the grid.

    Args:
        grid: the configurations.
        sums: (configurations, B), as `measured` takes them.
        counts: (B,).
        objective: what the losses are.

    Raises:
        DataError: if no configuration could be scored.
    """
    rules = [grid[number] for number in range(len(grid))]
    columns: dict[str, Any] = {name: [getattr(each, name) for each in rules] for name in PARAMETERS}
    columns |= measured(sums, counts, [complexity(each) for each in rules])
    return with_metadata(_table(columns), objective="objective", measured=objective, parameters=PARAMETERS, rule=RULE)


def layers_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Mean calibrations and variance recalibrations of every expert and axis, with what each lost and the choices.

    Args:
        rows: `expert`, `axis`, `layer` ("mean" or "variance"), `kind`, `loss`, `l2`, `measured_by`, and what
            `measured` gives.
    """
    names = rows[0]
    return with_metadata(_table({name: [row[name] for row in rows] for name in names}), rule=RULE)


def _table(columns: dict[str, Any]) -> pa.Table:
    numbers = {"objective", "standard_error", "difference", "difference_error", "l2", "max_weight_ratio", *GATES}
    return pa.table(
        {
            name: pa.array(values, pa.float64(), from_pandas=True) if name in numbers else pa.array(values)
            for name, values in columns.items()
        }
    )


def mean_and_error(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean per row, and its standard error when whole bundles are drawn anew.

    Args:
        sums: (C, B), of each bundle.
        counts: (B,), its rows.

    Source: the ratio estimate of cluster sampling, Cochran 1977, eq. 6.13.
    """
    bundles, rows = len(counts), counts.sum()
    mean = sums.sum(axis=1, dtype=np.float64) / rows
    if bundles < 2:
        return mean, np.full(len(sums), np.nan)
    square = np.zeros(len(sums))
    for k in range(bundles):
        square += (sums[:, k] - mean * counts[k]) ** 2
    return mean, np.sqrt(square * bundles / (bundles - 1)) / rows


def choose(value: np.ndarray, complexity: np.ndarray, within: np.ndarray) -> int:
    """The number of the simplest configuration within; of equally simple ones the one with the least loss.

    Args:
        value: (C,), losses.
        complexity: (C,), free numbers.
        within: bool (C,), which may be chosen.

    Source: Breiman et al. 1984, section 3.4.3 (the 1 SE rule).
    """
    allowed = np.flatnonzero(within & np.isfinite(value))
    return int(allowed[np.lexsort((value[allowed], complexity[allowed]))[0]])
