"""Sums per group from which the metrics of any resample of groups follow by one matrix product.

A resample of groups is a row of counts, one per group; `counts @ sums` are the sums over its rows, and every
metric here but Spearman's is a function of those. So thousands of resamples of many systems cost no loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

_, _Y, _M, _YY, _MM, _YM, _ABS, _SQUARE, _ERROR, _AGREE = range(10)
# Below this share of a column's mean square a variance is rounding: the resample is constant there.
_ROUNDING = 1e-13
MAX_UNITS = 20_000

Cell = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Truth, mean (both (n,) without NaN) and the group's number of each row (n,): one system on one axis."""


class SummedMetrics:
    """Metrics of a system in each cell, or differences between two, under any weighting of the groups.

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

    def weighted(self, counts: np.ndarray) -> np.ndarray:
        """Of resamples that hold each group so often, `counts` (r, n_groups): shape (r, K)."""
        return self._values([_product(counts, sums) for sums in self._sums])

    def swapped(self, swap: np.ndarray) -> np.ndarray:
        """With the two sides exchanged in the groups where `swap` (r, n_groups) is 1: shape (r, K)."""
        first, second = self._sums
        moved = _product(swap, second - first)
        return self._values([first.sum(0) + moved, second.sum(0) - moved])

    def _values(self, sides: list[np.ndarray]) -> np.ndarray:
        values = [self._metrics(sums) for sums in sides]
        result = values[0] if len(values) == 1 else values[0] - values[1]
        return result.reshape(*result.shape[:-2], -1)

    def _metrics(self, sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            # A resample without rows divides zero by zero, and so is undefined.
            moments = np.moveaxis(sums / sums[..., :1], -1, 0)
            return np.stack([SUMMABLE[name](moments) for name in self._names], axis=-1)


def group_numbers(groups: ArrayLike | None, n: int) -> tuple[np.ndarray, int]:
    """The groups of `n` rows as numbers 0 … n_groups - 1, and how many there are; None: each row its own.

    Raises:
        ValueError: if there are not `n` groups' names.
    """
    if groups is None:
        return np.arange(n), n
    names = np.asarray(groups)
    if names.shape != (n,):
        raise ValueError(f"expected groups of shape ({n},), one for each row; got {names.shape}")
    distinct, number = np.unique(names, return_inverse=True)
    return number, len(distinct)


def resampling_units(group: np.ndarray, n_groups: int) -> tuple[np.ndarray, int]:
    """Groups as the units that are resampled: themselves, or at most `MAX_UNITS` random bundles of them.

    Bundles of independent groups are independent, and a mean's variance comes out the same from either; so many of
    them give the same interval at a cost that no longer grows with the data.

    Args:
        group: the number of each row's group, 0 … n_groups - 1.
        n_groups: how many there are.

    Returns:
        The number of each row's unit, and how many units there are. Which groups are bundled is always the same.
    """
    if n_groups <= MAX_UNITS:
        return group, n_groups
    unit = np.random.default_rng(0).permutation(n_groups) % MAX_UNITS
    return unit[group], MAX_UNITS


def _group_sums(y: np.ndarray, m: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    # Second moments about a point near the means keep their digits; one point for both sides, and so for two
    # systems on the same rows, lets their sums be exchanged.
    u, w, error = y - y.mean(), m - y.mean(), m - y
    agree = np.sign(y) == np.sign(m)
    features = [np.ones_like(u), u, w, u * u, w * w, u * w, np.abs(error), error * error, error, agree]
    return np.column_stack([np.bincount(group, feature, n_groups) for feature in features])


def _product(weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    return (weights @ sums.reshape(len(sums), -1)).reshape(len(weights), *sums.shape[1:])


def _spread(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y_spread = moments[_YY] - moments[_Y] ** 2
    m_spread = moments[_MM] - moments[_M] ** 2
    y_spread = np.where(y_spread <= _ROUNDING * moments[_YY], 0, y_spread)
    m_spread = np.where(m_spread <= _ROUNDING * moments[_MM], 0, m_spread)
    together = moments[_YM] - moments[_Y] * moments[_M]
    return y_spread, m_spread, np.where((y_spread == 0) | (m_spread == 0), 0, together)


def _concordance(moments: np.ndarray) -> np.ndarray:
    y_spread, m_spread, together = _spread(moments)
    below = y_spread + m_spread + (moments[_M] - moments[_Y]) ** 2
    return np.where(below > _ROUNDING * (moments[_YY] + moments[_MM]), 2 * together / below, np.nan)


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
