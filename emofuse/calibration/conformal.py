"""Conformal prediction intervals, whose coverage does not rest on errors being Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration import files
from emofuse.calibration.rows import group_ids
from emofuse.errors import ConfigError, DataError

LEVELS = tuple(round(0.5 + 0.01 * step, 2) for step in range(50))
"""Coverages that are fitted: .50, .51, … .99."""


@dataclass(frozen=True, eq=False)
class ConformalIntervals:
    """Split conformal intervals `m ± q sigma`, q a high quantile of |y - m| / sigma on rows that nothing was fitted on.

    They cover a row of a new group with at least that chance, whatever the errors' distribution and however alike
    the rows of a group are: every group weighs the same, its rows share its weight, and q is the least score at
    which the weight reached is (n + 1) level of n groups. Where every row is its own group that is the k-th
    smallest score, k = ceil((n + 1) level).

    Attributes:
        levels: the levels they were fitted for, ascending.
        quantiles: (levels,) or (levels, 2): q; infinite where n is too small for the level.
        n: groups per axis, () or (2,).

    Source: Lei et al. 2018, with normalised residuals; Lee, Barber & Willett 2023, hierarchical conformal
    prediction, for groups. `crepes.ConformalRegressor` agrees where there are none.
    """

    levels: tuple[float, ...]
    quantiles: np.ndarray
    n: np.ndarray

    @classmethod
    def fit(
        cls,
        truth: ArrayLike,
        mean: ArrayLike,
        variance: ArrayLike,
        levels: tuple[float, ...] = LEVELS,
        groups: ArrayLike | None = None,
    ) -> ConformalIntervals:
        """Fit on rows that nothing else was fitted on.

        Args:
            truth: (N,) or (N, 2).
            mean: likewise.
            variance: likewise; unknown ones are left out.
            levels: coverages, each within (0, 1).
            groups: (N,), whose rows are alike, where new rows come from new groups; by default every row is its own.

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
        scores = np.where(known, np.abs(y - m) / np.sqrt(np.where(known, v, 1.0)), np.nan).reshape(len(y), -1)
        numbers, levels = group_ids(groups, len(y)), tuple(sorted(levels))
        axes = [_quantiles(column[~np.isnan(column)], numbers[~np.isnan(column)], levels) for column in scores.T]
        rows = np.stack([q for q, _ in axes], axis=1)
        counts = np.array([n for _, n in axes]).reshape(y.shape[1:])
        return cls(levels, rows.reshape(len(levels), *y.shape[1:]), counts)

    def quantile(self, level: float) -> np.ndarray:
        """q of the least fitted level that is not below that one, () or (2,).

        Raises:
            ConfigError: if it lies outside the levels that were fitted.
        """
        check_level(level, self.levels)
        return np.asarray(self.quantiles[int(np.searchsorted(self.levels, level - 1e-9))])

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


def check_level(level: float, levels: tuple[float, ...] = LEVELS) -> None:
    """Check that an interval of that level can be served.

    Raises:
        ConfigError: if it lies outside the levels that were fitted.
    """
    if not levels[0] <= level <= levels[-1]:
        raise ConfigError(f"no interval of level {level}; fitted from {levels[0]} to {levels[-1]}")


def _quantiles(scores: np.ndarray, groups: np.ndarray, levels: tuple[float, ...]) -> tuple[np.ndarray, int]:
    """q of every level, and how many groups there are."""
    _, place, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / size[place[order]])
    # The tiny step keeps (n + 1) level from being missed by rounding where it is a whole number.
    at = np.searchsorted(reached, (len(size) + 1) * np.array(levels) - 1e-9)
    return np.append(scores[order], math.inf)[at], len(size)
