"""The difference of a statistic between two predictors of the same rows, under any resampling of groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.axes import Metric, columns
from emofuse.metrics.intervals import bootstrap_counts, bootstrap_indices
from emofuse.metrics.sums import SUMMABLE, SummedMetrics, group_numbers

Statistic = Callable[[ArrayLike, ArrayLike], Metric]
_SUMMABLE_NAMES = {METRICS[name]: name for name in SUMMABLE}


class Pair(ABC):
    """Two predictors on their common rows. Differences have shape (..., K), K = 1 for one number, 2 for both axes.

    Attributes:
        n: rows.
        n_groups: groups.
        scalar: whether the statistic is one number.
    """

    n: int
    n_groups: int
    scalar: bool

    @abstractmethod
    def observed(self) -> np.ndarray:
        """The difference on all rows, shape (K,)."""

    @abstractmethod
    def jackknife(self) -> np.ndarray:
        """The differences without each group in turn, shape (n_groups, K)."""

    @abstractmethod
    def bootstrap(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        """The differences on resamples of groups, shape (resamples, K)."""

    @abstractmethod
    def swapped(self, swap: np.ndarray) -> np.ndarray:
        """The differences with the groups where `swap` (r, n_groups) is 1 exchanged, shape (r, K)."""

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
    if statistic in _SUMMABLE_NAMES:
        return _BySums(y, first, second, group, n_groups, _SUMMABLE_NAMES[statistic])
    return _ByCalls(y, first, second, group, n_groups, statistic)


class _BySums(Pair):
    """For the metrics that follow from sums per group: one matrix product for all resamples."""

    def __init__(
        self, truth: np.ndarray, a: np.ndarray, b: np.ndarray, group: np.ndarray, n_groups: int, name: str
    ) -> None:
        self.n, self.n_groups, self.scalar = len(truth), n_groups, truth.ndim == 1
        truths, firsts, seconds = (np.atleast_2d(x.T) for x in (truth, a, b))
        sides = [[(y, m, group) for y, m in zip(truths, means, strict=True)] for means in (firsts, seconds)]
        self._metrics = SummedMetrics(sides, n_groups, (name,))

    def observed(self) -> np.ndarray:
        return self._metrics.observed()

    def jackknife(self) -> np.ndarray:
        return self._metrics.without_each()

    def bootstrap(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        counts = bootstrap_counts(self.n_groups, resamples, rng)
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
        group: np.ndarray,
        n_groups: int,
        statistic: Statistic,
    ) -> None:
        self.n, self.n_groups = len(truth), n_groups
        self.scalar = np.ndim(statistic(truth, a)) == 0
        self._truth, self._a, self._b, self._group, self._statistic = truth, a, b, group, statistic
        self._members = [np.flatnonzero(group == g) for g in range(n_groups)]

    def _difference(self, truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.atleast_1d(np.asarray(self._statistic(truth, a)) - np.asarray(self._statistic(truth, b)))

    def _rows(self, index: np.ndarray) -> np.ndarray:
        return self._difference(self._truth[index], self._a[index], self._b[index])

    def observed(self) -> np.ndarray:
        return self._difference(self._truth, self._a, self._b)

    def jackknife(self) -> np.ndarray:
        return np.array([self._rows(np.flatnonzero(self._group != g)) for g in range(self.n_groups)])

    def bootstrap(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        draws = (draw for chunk in bootstrap_indices(self.n_groups, resamples, rng) for draw in chunk)
        return np.array([self._rows(np.concatenate([self._members[g] for g in draw])) for draw in draws])

    def swapped(self, swap: np.ndarray) -> np.ndarray:
        exchanged = swap[:, self._group].astype(bool)
        if self._truth.ndim == 2:
            exchanged = exchanged[..., None]
        a, b = self._a, self._b
        return np.array([self._difference(self._truth, np.where(x, b, a), np.where(x, a, b)) for x in exchanged])
