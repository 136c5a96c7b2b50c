"""Metrics of the variances: proper scores, coverage, sharpness, and all of them in one table.

Arguments are (truth, mean, variance), all (N,) or all (N, 2). A row that lacks any of the three on an axis is
left out of that axis; a variance that is NaN, infinite, zero or negative is unknown, hence missing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import norm

from emofuse.metrics.axes import Metric, columns, per_axis
from emofuse.metrics.reliability import (
    RiskCoverage,
    VarianceBins,
    ence,
    expected_ence,
    miscalibration_area,
    reliability_curve,
    risk_coverage,
    sigma_error_spearman,
    variance_bins,
)

__all__ = [
    "LEVELS",
    "RiskCoverage",
    "VarianceBins",
    "constant_variance",
    "constant_variance_metrics",
    "coverage",
    "crps",
    "ence",
    "expected_ence",
    "interval_width",
    "mean_squared_z",
    "miscalibration_area",
    "nll",
    "reliability_curve",
    "risk_coverage",
    "sharpness",
    "sigma_error_spearman",
    "uncertainty_metrics",
    "variance_bins",
]

LEVELS = (0.50, 0.68, 0.90, 0.95)
"""The levels of the coverage columns."""


def nll(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Metric:
    """Mean negative log likelihood of a Gaussian, mean [½ log 2πv + ½ (y - m)²/v], in nats; lower is better."""
    return per_axis(lambda y, m, v: nll_rows(y, m, v).mean(), truth, mean, variance, positive_last=True)


def crps(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Metric:
    """Mean continuous ranked probability score of a Gaussian, in the units of the truth; lower is better.

    Source: Gneiting & Raftery 2007, eq. 21, sign turned: σ [z (2Φ(z) - 1) + 2φ(z) - 1/√π].
    """
    return per_axis(lambda y, m, v: crps_rows(y, m, v).mean(), truth, mean, variance, positive_last=True)


def mean_squared_z(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Metric:
    """ZMS, mean (y - m)²/v: 1 where variances are right on average, above 1 where they are too small.

    Source: Pernot 2024 recommends it as the test of average calibration.
    """
    return per_axis(lambda y, m, v: (np.square(y - m) / v).mean(), truth, mean, variance, positive_last=True)


def coverage(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, level: float = 0.9) -> Metric:
    """Share of truths within the central Gaussian interval of that level, |y - m| <= Φ⁻¹((1 + level)/2) σ.

    Raises:
        ValueError: if `level` is not within (0, 1).
    """
    width = half_width(level)
    return per_axis(
        lambda y, m, v: (np.abs(y - m) / np.sqrt(v) <= width).mean(), truth, mean, variance, positive_last=True
    )


def interval_width(variance: ArrayLike, level: float = 0.9) -> Metric:
    """Mean width of the central Gaussian interval of that level (MPIW), mean 2 Φ⁻¹((1 + level)/2) σ.

    Raises:
        ValueError: if `level` is not within (0, 1).
    """
    width = 2 * half_width(level)
    return per_axis(lambda v: (width * np.sqrt(v)).mean(), variance, positive_last=True)


def sharpness(*arrays: ArrayLike) -> Metric:
    """Root mean variance, sqrt(mean v), in the units of the truth.

    Args:
        arrays: `sharpness(variance)` over all rows with a known variance, which needs no labels; or
            `sharpness(truth, mean, variance)` over the rows that the other metrics are taken over.

    Raises:
        TypeError: for any other number of arrays.
    """
    if len(arrays) not in (1, 3):
        raise TypeError(f"expected (variance) or (truth, mean, variance); got {len(arrays)} arrays")
    return per_axis(lambda *values: np.sqrt(values[-1].mean()), *arrays, positive_last=True)


def constant_variance(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """The one variance with the least NLL on these rows, their mean squared error.

    Fit it where variances are fitted (valid); variances that do not beat it elsewhere do not rank rows.
    """
    return per_axis(lambda y, m: np.square(y - m).mean(), truth, mean)


def uncertainty_metrics(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, bins: int = 10) -> dict[str, Metric]:
    """Every metric of uncertainty by its name in the metrics table.

    Args:
        truth: labels, (N,) or (N, 2).
        mean: predictions.
        variance: their variances.
        bins: of ENCE, of equal count.

    Returns:
        nll, crps, zms, ence, ence_expected, miscalibration_area, sharpness, coverage_50, coverage_68,
        coverage_90, coverage_95, sigma_error_spearman: a float each for (N,), an array (2,) for (N, 2).
    """
    y, m, v = columns(truth, mean, variance)
    values: dict[str, Metric] = {
        "nll": nll(y, m, v),
        "crps": crps(y, m, v),
        "zms": mean_squared_z(y, m, v),
        "ence": ence(y, m, v, bins),
        "ence_expected": per_axis(lambda _y, _m, v: ence_of_perfect(v, bins), y, m, v, positive_last=True),
        "miscalibration_area": miscalibration_area(y, m, v),
        "sharpness": sharpness(y, m, v),
        "sigma_error_spearman": sigma_error_spearman(y, m, v),
    }
    return values | {f"coverage_{round(100 * level)}": coverage(y, m, v, level) for level in LEVELS}


def constant_variance_metrics(
    truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, bins: int = 10
) -> dict[str, Metric]:
    """`uncertainty_metrics` of a variance that is the same for every row, the baseline to print beside them.

    Args:
        truth: labels, (N,) or (N, 2).
        mean: predictions.
        variance: the constant, one for (N,), shape (2,) for (N, 2); from `constant_variance` on other rows.
        bins: of ENCE.
    """
    y, m = columns(truth, mean)
    return uncertainty_metrics(y, m, np.broadcast_to(np.asarray(variance, dtype=np.float64), m.shape), bins)


def nll_rows(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The negative log likelihood of each row, in nats; any one shape."""
    return 0.5 * (np.log(2 * np.pi * v) + np.square(y - m) / v)


def crps_rows(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The continuous ranked probability score of each row; any one shape."""
    sigma = np.sqrt(v)
    z = (y - m) / sigma
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return sigma * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def ence_of_perfect(v: np.ndarray, bins: int = 10) -> float:
    """`expected_ence` of these variances, (n,): fewer distinct ones than bins make fewer bins."""
    return expected_ence(len(v), min(bins, len(np.unique(v))))


def half_width(level: float) -> float:
    """Half the width of the central Gaussian interval of that level, in sigmas.

    Raises:
        ValueError: if `level` is not within (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level within (0, 1); got {level}")
    return float(norm.ppf((1 + level) / 2))
