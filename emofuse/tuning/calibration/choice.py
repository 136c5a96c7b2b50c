"""The surface of a sweep as a table, and the choice: the simplest within one standard error of the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.errors import DataError
from emofuse.tables.schema import with_metadata
from emofuse.tuning.calibration.grid import GATES, Grid, complexity

PARAMETERS = ("mean", "loss", "l2", "variance", "method", "max_weight_ratio", *GATES)
RULE = (
    "the simplest configuration whose loss exceeds the best one's by at most one standard error, "
    "both of the best loss and of the difference, over groups; of equally simple ones the best"
)


def surface_table(grid: Grid, sums: np.ndarray, counts: np.ndarray, objective: str) -> pa.Table:
    """One row per configuration, in the order of the grid.

    Args:
        grid: the configurations.
        sums: (configurations, B), losses of each bundle of groups, summed over its rows; NaN = not to be had.
        counts: (B,), its rows.
        objective: what the losses are.

    Returns:
        The parameters, `objective` (mean loss), `standard_error` over groups, `difference` to the best with
        `difference_error`, its standard error, `complexity`, `within_one_se` and `chosen`.

    Raises:
        DataError: if no configuration could be scored.
    """
    used = counts > 0
    sums, counts = sums[:, used], counts[used]
    value, error = mean_and_error(sums, counts)
    if not np.isfinite(value).any():
        raise DataError("no configuration of the sweep could be fitted and scored on valid; it may have too few rows")
    best = int(np.nanargmin(value))
    difference, apart = mean_and_error(sums - sums[best], counts)
    parts = [grid.parts(number) for number in range(len(grid))]
    free = np.array([complexity(*each) for each in parts])
    within = (difference <= apart) & (difference <= error[best])
    within[best] = True
    chosen = choose(value, free, within)
    columns: dict[str, Any] = {name: [_parameter(name, *each) for each in parts] for name in PARAMETERS}
    numbers = {"objective": value, "standard_error": error, "difference": difference, "difference_error": apart}
    columns |= {name: pa.array(values, pa.float64(), from_pandas=True) for name, values in numbers.items()}
    columns |= {"complexity": free, "within_one_se": within, "chosen": np.arange(len(grid)) == chosen}
    kinds = {name: pa.float64() for name in ("l2", "max_weight_ratio", *GATES)}
    table = pa.table(
        {name: pa.array(values, kinds[name]) if name in kinds else values for name, values in columns.items()}
    )
    return with_metadata(table, objective="objective", measured=objective, parameters=list(PARAMETERS), rule=RULE)


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


def _parameter(name: str, layers: Any, fusion: Any) -> Any:
    return getattr(layers if name in ("mean", "loss", "l2", "variance") else fusion, name)
