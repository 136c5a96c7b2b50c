"""Conformal prediction intervals, whose coverage does not rest on errors being Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration import files
from emofuse.errors import ConfigError, DataError

LEVELS = (0.5, 0.68, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class ConformalIntervals:
    """Split conformal intervals `m ± q sigma`: q is the k-th smallest |y - m| / sigma, k = ceil((n + 1) level).

    They cover a new row of the same kind with at least that chance, whatever the errors' distribution. Rows
    of one group are not of that kind to each other: fit and evaluate on different groups, and not on rows that
    something was tuned on.

    Attributes:
        levels: the levels they were fitted for.
        quantiles: (levels,) or (levels, 2): q; infinite where n is too small for the level.
        n: rows per axis, () or (2,).

    Source: Lei et al. 2018, with normalised residuals; `crepes.ConformalRegressor` agrees.
    """

    levels: tuple[float, ...]
    quantiles: np.ndarray
    n: np.ndarray

    @classmethod
    def fit(
        cls, truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, levels: tuple[float, ...] = LEVELS
    ) -> ConformalIntervals:
        """Fit on rows that nothing else was fitted on.

        Args:
            truth: (N,) or (N, 2).
            mean: likewise.
            variance: likewise; unknown ones are left out.
            levels: coverages, each within (0, 1).

        Raises:
            ConfigError: if a level is not within (0, 1).
            DataError: if there is no complete row.
        """
        if not all(0 < level < 1 for level in levels):
            raise ConfigError(f"levels must lie within (0, 1); got {levels}")
        y, m, v = (np.asarray(each, dtype=np.float64) for each in (truth, mean, variance))
        known = np.isfinite(y) & np.isfinite(m) & np.isfinite(v) & (v > 0)
        if not known.any(axis=0).all():
            raise DataError("conformal intervals need rows with truth, mean and variance on each axis")
        scores = np.where(known, np.abs(y - m) / np.sqrt(np.where(known, v, 1.0)), np.inf)
        columns = np.sort(scores, axis=0).reshape(len(y), -1)
        counts = known.sum(axis=0)
        rows = [[_smallest(columns[:, i], n, level) for i, n in enumerate(np.atleast_1d(counts))] for level in levels]
        return cls(tuple(levels), np.array(rows).reshape(len(levels), *y.shape[1:]), counts)

    def quantile(self, level: float) -> np.ndarray:
        """q of that level, () or (2,).

        Raises:
            ConfigError: if it was not fitted for that level.
        """
        if level not in self.levels:
            raise ConfigError(f"no interval of level {level}; fitted for {', '.join(map(str, self.levels))}")
        return np.asarray(self.quantiles[self.levels.index(level)])

    def interval(self, mean: ArrayLike, variance: ArrayLike, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends, the shape of `mean`; NaN where mean or variance is unknown."""
        half = self.quantile(level) * np.sqrt(np.asarray(variance, dtype=np.float64))
        centre = np.asarray(mean, dtype=np.float64)
        return centre - half, centre + half

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs; an infinite q is stored as null."""
        return {"levels": list(self.levels), "quantiles": self.quantiles, "n": self.n}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ConformalIntervals:
        """The inverse of `to_dict`."""
        q = files.numbers(content["quantiles"])
        return cls(tuple(map(float, content["levels"])), np.where(np.isnan(q), np.inf, q), np.array(content["n"]))


def _smallest(scores: np.ndarray, n: int, level: float) -> float:
    # The tiny step keeps (n + 1) level from being rounded up when it is a whole number.
    k = math.ceil((n + 1) * level - 1e-9)
    return float(scores[k - 1]) if k <= n else math.inf
