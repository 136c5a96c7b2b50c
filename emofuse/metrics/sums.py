"""Sums per group, from which the metrics without each group in turn follow: the jackknife costs no loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from emofuse.metrics.accuracy import concordance_of_moments

_, _Y, _M, _YY, _MM, _YM, _ABS, _SQUARE, _ERROR, _AGREE = range(10)
# Below this share of a column's mean square a variance is rounding: the rows are constant.
_ROUNDING = 1e-13

Cell = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Truth, mean (both (n,) without NaN) and the group's number of each row (n,): one system on one axis."""


class SummedMetrics:
    """Metrics of a system in each cell, or differences between two, over all groups and without each.

    All results have shape (..., K), K = cells x names with the names running faster; NaN where undefined.
    """

    def __init__(self, sides: Sequence[Sequence[Cell]], n_groups: int, names: Sequence[str]) -> None:
        """
        Args:
            sides: the cells of one system or, for differences first - second, of two, on the same rows.
            n_groups: groups are numbered 0 … n_groups - 1.
            names: of `SUMMABLE`.
        """
        self._sums = [np.stack([_group_sums(*cell, n_groups) for cell in cells], axis=1) for cells in sides]
        self._names = tuple(names)

    def observed(self) -> np.ndarray:
        """Over all rows, shape (K,)."""
        return self._values([sums.sum(0) for sums in self._sums])

    def without_each(self) -> np.ndarray:
        """Without each group in turn, for the jackknife: shape (n_groups, K)."""
        return self._values([sums.sum(0) - sums for sums in self._sums])

    def _values(self, sides: list[np.ndarray]) -> np.ndarray:
        values = [self._metrics(sums) for sums in sides]
        result = values[0] if len(values) == 1 else values[0] - values[1]
        return result.reshape(*result.shape[:-2], -1)

    def _metrics(self, sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            # Without rows zero is divided by zero: undefined.
            moments = np.moveaxis(sums / sums[..., :1], -1, 0)
            return np.stack([SUMMABLE[name](moments) for name in self._names], axis=-1)


def _group_sums(y: np.ndarray, m: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    # Second moments about a point near the means keep their digits.
    u, w, error = y - y.mean(), m - y.mean(), m - y
    agree = np.sign(y) == np.sign(m)
    features = [np.ones_like(u), u, w, u * u, w * w, u * w, np.abs(error), error * error, error, agree]
    return np.column_stack([np.bincount(group, feature, n_groups) for feature in features])


def _spread(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y_spread = moments[_YY] - moments[_Y] ** 2
    m_spread = moments[_MM] - moments[_M] ** 2
    y_spread = np.where(y_spread <= _ROUNDING * moments[_YY], 0, y_spread)
    m_spread = np.where(m_spread <= _ROUNDING * moments[_MM], 0, m_spread)
    together = moments[_YM] - moments[_Y] * moments[_M]
    return y_spread, m_spread, np.where((y_spread == 0) | (m_spread == 0), 0, together)


def _concordance(moments: np.ndarray) -> np.ndarray:
    y_spread, m_spread, together = _spread(moments)
    apart = moments[_M] - moments[_Y]
    alike = np.square(apart) <= _ROUNDING * (moments[_YY] + moments[_MM])
    return concordance_of_moments(y_spread, m_spread, together, np.where(alike, 0, apart))


def _pearson(moments: np.ndarray) -> np.ndarray:
    y_spread, m_spread, together = _spread(moments)
    below = np.sqrt(y_spread * m_spread)
    return np.where(below > 0, np.clip(together / below, -1, 1), np.nan)


SUMMABLE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mae": lambda moments: moments[_ABS],
    "rmse": lambda moments: np.sqrt(moments[_SQUARE]),
    "ccc": _concordance,
    "pearson": _pearson,
    "sagr": lambda moments: moments[_AGREE],
    "bias": lambda moments: moments[_ERROR],
}
"""The metrics that follow from the sums, as functions of the moments (10, ..., pairs)."""
