"""Means of rows that come in groups: Student's t with a group-robust error, and an exact check by signs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.significance.estimate import Inference, check_confidence, t_interval, t_p
from emofuse.metrics.significance.groups import effective_groups, group_numbers, leverage, satterthwaite

MOST_SIGNED_GROUPS = 12
# Below this share of the mean absolute value a standard error is rounding: there is no spread.
_ROUNDING = 1e-13


def ratio_mean(values: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95) -> Inference:
    """The mean over rows m = sum s_g / sum n_g, its error from the groups' sums s_g and sizes n_g.

    With u_g = s_g - m n_g, N = sum n_g and a_g = (1 - n_g/N)^(-1/2): SE = sqrt(sum (a_g u_g)^2) / N, and Student's
    t with Satterthwaite's degrees of freedom. For groups of equal size it is the t test of the groups' means.

    Args:
        values: losses, or their differences between two systems, (N,) or (N, K) for K estimates; rows without a
            finite value are left out of a column.
        groups: names, shape (N,); None: every row is its own group.
        confidence: of the two-sided interval.

    Returns:
        Of floats for (N,), of arrays (K,) for (N, K). With one group no error; without rows no estimate.

    Raises:
        ValueError: if shapes do not agree or `confidence` is not within (0, 1).

    Source: Bell & McCaffrey 2002, Survey Methodology 28 (CR2); Satterthwaite 1946.
    """
    check_confidence(confidence)
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim not in (1, 2):
        raise ValueError(f"expected values of shape (N,) or (N, K); got {rows.shape}")
    number, n_groups = group_numbers(groups, len(rows))
    table = rows[:, None] if rows.ndim == 1 else rows
    known = np.isfinite(table)
    sizes = _by_group(known, number, n_groups)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, table, 0).sum(0) / sizes.sum(0)
        residual = _by_group(np.where(known, table - mean, 0), number, n_groups)
        se = np.sqrt(np.square(leverage(sizes) * residual).sum(0)) / sizes.sum(0)
        se[se <= _ROUNDING * np.abs(np.where(known, table, 0)).sum(0) / sizes.sum(0)] = 0
    df = satterthwaite(sizes)
    low, high = t_interval(mean, se, df, confidence)
    counts = sizes.sum(0).astype(np.int64), (sizes > 0).sum(0), effective_groups(sizes)
    found = Inference(mean, se, df, t_p(mean, se, df), low, high, confidence, *counts)
    return found if rows.ndim == 2 else found.at(0)


def sign_permutation(values: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Exact two-sided p of a mean of 0: every group's sum may as well have the other sign.

    A check of `ratio_mean` where groups are few: no distribution is assumed but symmetry. Its smallest p is
    2 / 2^G, so fewer than six groups never reach .05.

    Args:
        values: differences, shape (N,); rows without a finite value are left out.
        groups: names, shape (N,); None: every row is its own group.

    Returns:
        The share of the 2^G signs whose sum is as far from 0 as the observed one, or farther; NaN without rows.

    Raises:
        ValueError: if shapes do not agree, or there are more than 12 groups.

    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1:
        raise ValueError(f"expected values of shape (N,); got {rows.shape}")
    known = np.isfinite(rows)
    number, _ = group_numbers(groups, len(rows))
    number, n_groups = group_numbers(number[known], int(known.sum()))
    if n_groups > MOST_SIGNED_GROUPS:
        raise ValueError(f"expected at most {MOST_SIGNED_GROUPS} groups, for all signs to be tried; got {n_groups}")
    if not n_groups:
        return np.nan
    sums = np.bincount(number, rows[known], n_groups)
    signs = 1 - 2 * (np.arange(2**n_groups)[:, None] >> np.arange(n_groups) & 1)
    # Equal sums added in another order part in their last digits; they are ties all the same.
    return float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12 * np.abs(sums).sum()))


def _by_group(table: np.ndarray, number: np.ndarray, n_groups: int) -> np.ndarray:
    return np.stack([np.bincount(number, column, n_groups) for column in table.T], axis=1)
