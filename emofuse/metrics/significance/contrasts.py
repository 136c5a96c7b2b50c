"""Weighted sums of subgroups' means, and the largest gap between two of them, over groups of rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.significance.estimate import Inference, t_interval, t_p
from emofuse.metrics.significance.groups import effective_groups, group_numbers, leverage, satterthwaite


@dataclass(frozen=True)
class Gap:
    """The largest difference between two subgroups' means.

    Attributes:
        high, low: numbers of the subgroups with the larger and the smaller mean.
        difference: of their means, 0 or more; its interval holds for all pairs at once.
        pairs: intervals that hold together, by which the error is divided (Bonferroni).
    """

    high: int
    low: int
    difference: Inference
    pairs: int


def contrast(
    values: ArrayLike,
    subgroup: ArrayLike,
    weights: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> Inference:
    """sum_k c_k m_k of the means m_k of K subgroups, its error from the groups of rows.

    With u_gk the sum of the residuals of group g in subgroup k, n_k rows and a_gk = (1 - n_gk/n_k)^(-1/2):
    SE^2 = sum_g (sum_k c_k a_gk u_gk / n_k)^2, which for subgroups without a common group is sum_k c_k^2 SE_k^2 with
    SE_k of `ratio_mean`, and otherwise keeps their covariance. Degrees of freedom by Welch and Satterthwaite,
    (sum_k v_k)^2 / sum_k (v_k^2 / df_k) with v_k = c_k^2 SE_k^2, but no more than all rows together leave, which
    counts where the same groups are in several subgroups.

    Args:
        values: (N,); rows without a finite value are left out.
        subgroup: (N,), numbers 0 … K - 1; a row of another number is left out.
        weights: c, (K,); subgroups of weight 0 take no part.
        groups: names, shape (N,); None: every row is its own group.
        confidence: of the two-sided interval.

    Returns:
        Without an error where a subgroup of the sum has fewer than two groups.

    Source: Bell & McCaffrey 2002, Survey Methodology 28 (CR2); Welch 1947, Biometrika 34.
    """
    rows, member, c = np.asarray(values, dtype=np.float64), np.asarray(subgroup), np.asarray(weights, dtype=np.float64)
    taking = np.flatnonzero(c)
    inside = (member[:, None] == taking) & np.isfinite(rows)[:, None]
    number, n_groups = group_numbers(groups, len(rows))
    sizes = _by_group(inside, number, n_groups)
    with np.errstate(invalid="ignore"):
        means = np.where(inside, rows[:, None], 0).sum(0) / sizes.sum(0)
        residual = _by_group(np.where(inside, rows[:, None] - means, 0), number, n_groups)
        scores = c[taking] * np.where(sizes > 0, leverage(sizes) * residual, 0) / sizes.sum(0)
        variances = np.square(scores).sum(0)
        welch = np.square(variances.sum()) / (np.square(variances) / satterthwaite(sizes)).sum()
    estimate, se = float((c[taking] * means).sum()), float(np.sqrt(np.square(scores.sum(1)).sum()))
    total = sizes.sum(1, keepdims=True)
    df = np.minimum(welch, satterthwaite(total)[0])
    low, high = map(float, t_interval(estimate, se, df, confidence))
    counts = int(total.sum()), int((total > 0).sum()), float(effective_groups(total)[0])
    return Inference(estimate, se, float(df), float(t_p(estimate, se, df)), low, high, confidence, *counts)


def macro_mean(
    values: ArrayLike, subgroup: ArrayLike, count: int, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> Inference:
    """The mean of the means of `count` subgroups, each of the same weight; as `contrast`."""
    return contrast(values, subgroup, np.full(count, 1 / count), groups, confidence=confidence)


def largest_gap(
    values: ArrayLike,
    subgroup: ArrayLike,
    count: int,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    families: int = 1,
) -> Gap | None:
    """The pair of `count` subgroups whose means differ most; its interval holds for every pair at once.

    Args:
        values, subgroup, groups: as `contrast`.
        confidence: of all intervals together: each pair's is of 1 - (1 - confidence) / pairs (Bonferroni).
        families: sets of as many pairs that are told of together, such as two axes.

    Returns:
        None where fewer than two subgroups have two groups of rows.
    """
    rows, member = np.asarray(values, dtype=np.float64), np.asarray(subgroup)
    number, _ = group_numbers(groups, len(rows))
    known = np.isfinite(rows)
    able = [k for k in range(count) if len(np.unique(number[known & (member == k)])) > 1]
    pairs = families * len(able) * (len(able) - 1) // 2
    if not pairs:
        return None
    means = {k: rows[known & (member == k)].mean() for k in able}
    one, other = max(combinations(able, 2), key=lambda pair: abs(means[pair[0]] - means[pair[1]]))
    high, low = (one, other) if means[one] >= means[other] else (other, one)
    weights = np.zeros(count)
    weights[high], weights[low] = 1, -1
    level = 1 - (1 - confidence) / pairs
    return Gap(high, low, contrast(rows, member, weights, groups, confidence=level), pairs)


def _by_group(table: np.ndarray, number: np.ndarray, n_groups: int) -> np.ndarray:
    return np.stack([np.bincount(number, column, n_groups) for column in table.T], axis=1)
