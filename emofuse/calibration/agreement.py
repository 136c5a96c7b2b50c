"""Bland-Altman agreement: differences of two measurements over their mean, with limits of agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student


@dataclass(frozen=True, eq=False)
class BlandAltman:
    """The data of a Bland-Altman plot; per axis, () or (2,), unless said otherwise.

    Attributes:
        average: (N,) or (N, 2), (truth + mean) / 2.
        difference: the same shape, mean - truth.
        bias: mean difference.
        bias_low: lower end of its 95 % interval.
        bias_high: upper end.
        sd: standard deviation of the differences (n - 1).
        lower: bias - 1.96 sd, the lower limit of agreement.
        upper: bias + 1.96 sd.
        limit_error: standard error of either limit.
        slope: of difference on average; 0 where the bias does not depend on the size.
        n: rows.
    """

    average: np.ndarray
    difference: np.ndarray
    bias: np.ndarray
    bias_low: np.ndarray
    bias_high: np.ndarray
    sd: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    limit_error: np.ndarray
    slope: np.ndarray
    n: np.ndarray


def bland_altman(truth: ArrayLike, mean: ArrayLike) -> BlandAltman:
    """The data of a Bland-Altman plot.

    Args:
        truth: (N,) or (N, 2), reference scale.
        mean: the same shape; rows that lack either are left out of their axis.

    Source: Bland & Altman 1999; a limit's variance is sd² (1/n + 1.96² / (2 (n - 1))).
    """
    y, m = np.asarray(truth, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    if y.shape != m.shape:
        raise ValueError(f"expected truth and mean of one shape; got {y.shape} and {m.shape}")
    known = np.isfinite(y) & np.isfinite(m)
    average, difference = np.where(known, (y + m) / 2, np.nan), np.where(known, m - y, np.nan)
    n = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = np.nansum(difference, axis=0) / n
        away = np.where(known, difference - bias, 0.0)
        sd = np.sqrt((away**2).sum(axis=0) / (n - 1))
        along = np.where(known, average - np.nansum(average, axis=0) / n, 0.0)
        slope = (away * along).sum(axis=0) / (along**2).sum(axis=0)
        half = student.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(n)
        limit_error = sd * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    ends = (bias - half, bias + half, sd, bias - 1.96 * sd, bias + 1.96 * sd)
    return BlandAltman(average, difference, bias, *ends, limit_error, slope, n)
