"""Shares of rows, as coverage and agreement of signs: an interval that stays within 0 and 1 and is never empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from emofuse.metrics.significance.estimate import Inference, t_quantile
from emofuse.metrics.significance.means import ratio_mean


def proportion(hits: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95) -> Inference:
    """The share of rows that hit, with Korn and Graubard's interval.

    It is Clopper and Pearson's for as many independent rows as the group-robust variance amounts to,
    n* = n V_iid / V (t_(n-1) / t_df)^2, never more than n. Independent rows give Clopper and Pearson's itself.
    Where all rows hit, or none, V says nothing, and the rows of a group count as one: n* = (sum n)^2 / sum n^2.

    Args:
        hits: 0 or 1 (or bool), (N,) or (N, K); rows without a finite value are left out of a column.
        groups: names, shape (N,); None: every row is its own group.
        confidence: of the two-sided interval.

    Returns:
        As `ratio_mean`, with this interval and no p.

    Raises:
        ValueError: if shapes do not agree, a value is neither 0 nor 1, or `confidence` is not within (0, 1).

    Source: Korn & Graubard 1998, Survey Methodology 24.
    """
    rows = np.asarray(hits, dtype=np.float64)
    if not np.isin(rows[np.isfinite(rows)], (0, 1)).all():
        raise ValueError("expected hits of 0 or 1")
    mean = ratio_mean(rows, groups, confidence=confidence)
    size = _effective_size(mean)
    ends = _clopper_pearson(mean.estimate, size, confidence)
    low, high = (end.item() if rows.ndim == 1 else end for end in ends)
    return replace(mean, low=low, high=high, p=np.nan * mean.p)


def _effective_size(mean: Inference) -> np.ndarray:
    n, share = np.asarray(mean.n, dtype=np.float64), np.asarray(mean.estimate)
    tail = (1 + mean.confidence) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        equivalent = n * share * (1 - share) / (n - 1) / np.square(mean.se)
        equivalent *= np.square(t_quantile(n - 1, tail) / t_quantile(mean.df, tail))
    alike = (share == 0) | (share == 1)
    size = np.where(alike, mean.n_effective_groups, np.minimum(equivalent, n))
    return np.where(np.asarray(mean.n_groups) > 1, size, np.nan)


def _clopper_pearson(share: np.ndarray, size: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    tail, hits = (1 - confidence) / 2, share * size
    with np.errstate(invalid="ignore"):
        low = np.where(share == 0, 0 * size, betaincinv(hits, size - hits + 1, tail))
        high = np.where(share == 1, 1 + 0 * size, betaincinv(hits + 1, size - hits, 1 - tail))
    return low, high
