"""Spearman's correlation by its influence function: what each row adds, without ranking anything again."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from emofuse.metrics.axes import columns
from emofuse.metrics.significance.estimate import Inference, check_confidence
from emofuse.metrics.significance.groups import group_numbers
from emofuse.metrics.significance.means import ratio_mean
from emofuse.metrics.significance.transforms import FISHER, nothing


def rank_correlation(
    truth: ArrayLike, mean: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> Inference:
    """Spearman's correlation, ties sharing their mean rank, with Student's t on atanh.

    The error is that of `ratio_mean` for the rows' influences, which hold the change of every other row's rank.

    Args:
        truth: labels of one axis, (N,); a row that lacks any value is left out.
        mean: predictions, (N,).
        groups: names, shape (N,); None: every row is its own group.
        confidence: of the two-sided interval.

    Returns:
        NaN where one side is constant; no error with one group or a correlation of exactly ±1.

    Raises:
        ValueError: if shapes do not agree or `confidence` is not within (0, 1).

    Source: Croux & Dehon 2010, Statistical Methods & Applications 19 (influence function).
    """
    check_confidence(confidence)
    y, m = columns(truth, mean)
    if y.ndim != 1:
        raise ValueError(f"expected one axis, shape (N,); got {y.shape}")
    complete = np.isfinite([y, m]).all(axis=0)
    number, _ = group_numbers(groups, len(y))
    number, n_groups = group_numbers(number[complete], int(complete.sum()))
    if not n_groups:
        return nothing(confidence)
    rho, influence = _influence(y[complete], m[complete])
    se = ratio_mean(influence, number).se
    with np.errstate(divide="ignore", invalid="ignore"):
        error = se / np.subtract(1, rho**2)
    return FISHER.student(rho, error, np.bincount(number).astype(np.float64), confidence)


def _influence(y: np.ndarray, m: np.ndarray) -> tuple[float, np.ndarray]:
    """The correlation and, for each row, its derivative towards more weight of that row, (n,)."""
    f, g = ((rankdata(values) - 0.5) / len(values) - 0.5 for values in (y, m))
    of_y, of_m, together = np.mean(f * f), np.mean(g * g), np.mean(f * g)
    if not of_y * of_m > 0:
        return np.nan, np.full(len(y), np.nan)
    rho = together / np.sqrt(of_y * of_m)
    joint = f * g + _above(y, g) + _above(m, f) - 3 * together
    spread = [(own**2 + 2 * _above(values, own) - 3 * var) / var for values, own, var in ((y, f, of_y), (m, g, of_m))]
    return float(rho), joint / np.sqrt(of_y * of_m) - rho / 2 * (spread[0] + spread[1])


def _above(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each row the sum of `weights` over rows of larger value, those of its own value half, over n."""
    _, tie = np.unique(values, return_inverse=True)
    sums = np.bincount(tie, weights)
    return ((sums.sum() - np.cumsum(sums) + sums / 2) / len(values))[tie]
