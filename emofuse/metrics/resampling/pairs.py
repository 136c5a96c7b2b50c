"""The difference of a statistic between two predictors of the same rows, under any resampling of groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.axes import Metric, columns
from emofuse.metrics.resampling.intervals import bootstrap_counts, bootstrap_indices
from emofuse.metrics.resampling.sums import SUMMABLE, SummedMetrics, group_numbers, resampling_units

Statistic = Callable[[ArrayLike, ArrayLike], Metric]
_SUMMABLE_NAMES = {METRICS[name]: name for name in SUMMABLE}


class Pair(ABC):
    """Two predictors on their common rows. Differences have shape (..., K), K = 1 for one number, 2 for both axes.

    Attributes:
        n: rows.
        n_groups: groups.
        n_units: what is resampled and exchanged: the groups, or bundles of very many (`resampling_units`).
        scalar: whether the statistic is one number.
    """

    n: int
    n_groups: int
    n_units: int
    scalar: bool

    @abstractmethod
    def observed(self) -> np.ndarray:
        """The difference on all rows, shape (K,)."""

    @abstractmethod
    def jackknife(self) -> np.ndarray:
        """The differences without each unit in turn, shape (n_units, K)."""

    @abstractmethod
    def bootstrap(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        """The differences on resamples of units, shape (resamples, K)."""

    @abstractmethod
    def swapped(self, swap: np.ndarray) -> np.ndarray:
        """The differences with the units where `swap` (r, n_units) is 1 exchanged, shape (r, K)."""

    def unpack(self, values: np.ndarray) -> Metric:
        """`values` (..., K) as the statistic gives them: (...) for one number, a float where nothing is left."""
        if not self.scalar:
            return values
        return values[..., 0] if values.ndim > 1 else float(values[0])


def compare(
    truth: ArrayLike, a: ArrayLike, b: ArrayLike, statistic: Statistic, groups: ArrayLike | None = None
) -> Pair:
    """The pair (a, b) on the rows that are complete in truth, a and b.

    Raises:
        ValueError: if shapes do not agree, or no row is complete.
    """
    values = columns(truth, a, b)
    complete = np.asarray(np.isfinite(values).all(axis=(0, 2) if values[0].ndim == 2 else 0))
    if not complete.any():
        raise ValueError("no row has a value of truth, a and b")
    number, _ = group_numbers(groups, len(complete))
    group, n_groups = group_numbers(number[complete], int(complete.sum()))
    y, first, second = (value[complete] for value in values)
    unit, n_units = resampling_units(group, n_groups)
    name = _SUMMABLE_NAMES.get(statistic)
    pair: Pair
    if name is None:
        pair = _ByCalls(y, first, second, unit, n_units, statistic)
    else:
        pair = _BySums(y, first, second, unit, n_units, name)
    pair.n, pair.n_groups = len(group), n_groups
    return pair


class _BySums(Pair):
    """For the metrics that follow from sums per group: one matrix product for all resamples."""

    def __init__(
        self, truth: np.ndarray, a: np.ndarray, b: np.ndarray, unit: np.ndarray, n_units: int, name: str
    ) -> None:
        self.n_units, self.scalar = n_units, truth.ndim == 1
        truths, firsts, seconds = (np.atleast_2d(x.T) for x in (truth, a, b))
        sides = [[(y, m, unit) for y, m in zip(truths, means, strict=True)] for means in (firsts, seconds)]
        self._metrics = SummedMetrics(sides, n_units, (name,))

    def observed(self) -> np.ndarray:
        return self._metrics.observed()

    def jackknife(self) -> np.ndarray:
        return self._metrics.without_each()

    def bootstrap(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        counts = bootstrap_counts(self.n_units, resamples, rng)
        return np.concatenate([self._metrics.weighted(chunk) for chunk in counts])

    def swapped(self, swap: np.ndarray) -> np.ndarray:
        return self._metrics.swapped(swap)


class _ByCalls(Pair):
    """For any statistic: two calls for each resample."""

    def __init__(
        self,
        truth: np.ndarray,
        a: np.ndarray,
        b: np.ndarray,
        unit: np.ndarray,
        n_units: int,
        statistic: Statistic,
    ) -> None:
        self.n_units, self.scalar = n_units, np.ndim(statistic(truth, a)) == 0
        self._truth, self._a, self._b, self._unit, self._statistic = truth, a, b, unit, statistic
        ends = np.cumsum(np.bincount(unit, minlength=n_units))
        self._members = np.split(np.argsort(unit, kind="stable"), ends[:-1])

    def _difference(self, truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.atleast_1d(np.asarray(self._statistic(truth, a)) - np.asarray(self._statistic(truth, b)))

    def _rows(self, index: np.ndarray) -> np.ndarray:
        return self._difference(self._truth[index], self._a[index], self._b[index])

    def observed(self) -> np.ndarray:
        return self._difference(self._truth, self._a, self._b)

    def jackknife(self) -> np.ndarray:
        return np.array([self._rows(np.flatnonzero(self._unit != i)) for i in range(self.n_units)])

    def bootstrap(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        draws = (draw for chunk in bootstrap_indices(self.n_units, resamples, rng) for draw in chunk)
        return np.array([self._rows(np.concatenate([self._members[i] for i in draw])) for draw in draws])

    def swapped(self, swap: np.ndarray) -> np.ndarray:
        rows = self._truth.shape[:1] + (1,) * (self._truth.ndim - 1)
        differences = []
        for way in swap:
            exchanged = way[self._unit].astype(bool).reshape(rows)
            a, b = np.where(exchanged, self._b, self._a), np.where(exchanged, self._a, self._b)
            differences.append(self._difference(self._truth, a, b))
        return np.array(differences)
