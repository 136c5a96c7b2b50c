"""Calibration and ranking of variances: reliability diagrams, calibration errors, risk-coverage curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from emofuse.metrics.axes import Metric, columns, per_axis

Definition = Literal["equal-count", "equal-width"]


@dataclass(frozen=True)
class VarianceBins:
    """Claimed and observed spread per bin of sigma, ascending; empty bins are left out.

    Attributes:
        rmv: root mean variance claimed, shape (B,).
        rmse: root mean squared error observed, shape (B,).
        count: rows, shape (B,).
    """

    rmv: np.ndarray
    rmse: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class RiskCoverage:
    """The mean error of the most certain rows, as ever more rows are kept.

    Attributes:
        coverage: share of rows kept, 1/n … 1, shape (n,).
        risk: mean loss of the rows kept, shape (n,).
        area: mean of `risk` over `coverage`; lower is better.
        constant_area: the same where all rows are equally certain: the mean loss of all rows.
        oracle_area: the same for rows kept in the order of their true loss; no variance does better.
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float
    constant_area: float
    oracle_area: float


def variance_bins(
    truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, bins: int = 10, definition: Definition = "equal-count"
) -> VarianceBins:
    """Claimed beside observed spread, the data of a reliability diagram; one axis, arrays (N,).

    Args:
        truth: labels.
        mean: predictions.
        variance: their variances; a row that lacks any of the three is left out.
        bins: at most so many.
        definition: "equal-count" cuts the rows sorted by sigma into parts of equal size (equal sigmas keep the
            order of the rows); where there are no more distinct sigmas than bins, each is a bin, so that a
            constant variance is one bin. "equal-width" cuts the range of sigma.

    Raises:
        ValueError: if `bins` is below 1, the definition unknown, or the arrays are not (N,).
    """
    if bins < 1 or definition not in ("equal-count", "equal-width"):
        raise ValueError(f"expected bins >= 1 and equal-count or equal-width; got {bins} and {definition!r}")
    y, m, v = _complete(truth, mean, variance)
    parts = (equal_count_bins if definition == "equal-count" else _equal_width)(np.sqrt(v), bins)
    return VarianceBins(
        np.sqrt([v[part].mean() for part in parts]),
        np.sqrt([np.square(y[part] - m[part]).mean() for part in parts]),
        np.array([len(part) for part in parts], dtype=np.int64),
    )


def ence(
    truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, bins: int = 10, definition: Definition = "equal-count"
) -> Metric:
    """Expected normalised calibration error, mean over bins of |RMV - RMSE| / RMV.

    Not zero under perfect calibration: compare with `expected_ence`. Bins as in `variance_bins`.

    Source: Levi et al. 2022, Sensors 22 (bins of equal count); netcal's is "equal-width".
    """

    def one(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> float:
        binned = variance_bins(y, m, v, bins, definition)
        return float(np.mean(np.abs(binned.rmv - binned.rmse) / binned.rmv))

    return per_axis(one, truth, mean, variance, positive_last=True)


def expected_ence(n: int, bins: int = 10) -> float:
    """What ENCE comes to under perfect calibration with Gaussian errors, sqrt(bins / (pi n)); NaN for n = 0.

    Source: E|RMSE/RMV - 1| with RMSE^2 over n/bins rows; the growth with sqrt(bins) is Pernot 2023's.
    """
    return float(np.sqrt(bins / (np.pi * n))) if n > 0 else np.nan


def reliability_curve(
    truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, levels: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Expected and observed coverage of central Gaussian intervals; one axis, arrays (N,).

    Returns:
        The levels, `levels` of them evenly from 0 to 1, and the share of rows within each interval.
    """
    y, m, v = _complete(truth, mean, variance)
    expected = np.linspace(0, 1, levels)
    z = np.sort(np.abs(y - m) / np.sqrt(v))
    within = np.searchsorted(z, norm.ppf((1 + expected) / 2), side="right")
    return expected, within / len(z) if len(z) else np.full(levels, np.nan)


def miscalibration_area(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, levels: int = 100) -> Metric:
    """Area between the reliability curve and the diagonal, 0 (calibrated) to 1/2, crossings accounted for.

    Source: `uncertainty_toolbox.miscalibration_area`, prop_type "interval".
    """

    def one(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> float:
        expected, observed = reliability_curve(y, m, v, levels)
        gap = observed - expected
        left, right = np.abs(gap[:-1]), np.abs(gap[1:])
        crossing = gap[:-1] * gap[1:] < 0
        # Where the curve crosses the diagonal the area is two triangles instead of a trapezium.
        total = np.where(crossing, left + right, 1)
        height = np.where(crossing, (left**2 + right**2) / total, left + right) / 2
        return float(np.sum(height * np.diff(expected)))

    return per_axis(one, truth, mean, variance, positive_last=True)


def risk_coverage(
    truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, loss: Literal["absolute", "squared"] = "absolute"
) -> RiskCoverage:
    """The risk-coverage curve: the error of the rows of smallest variance over their share. One axis, arrays (N,).

    Rows of equal variance enter with their common mean loss, so the order of rows does not matter and a
    constant variance gives a flat curve.

    Source: Geifman & El-Yaniv 2017 (selective prediction).
    """
    y, m, v = _complete(truth, mean, variance)
    losses = np.abs(y - m) if loss == "absolute" else np.square(y - m)
    if not len(losses):
        return RiskCoverage(np.empty(0), np.empty(0), np.nan, np.nan, np.nan)
    kept = np.arange(1, len(losses) + 1)
    _, tie, size = np.unique(v, return_inverse=True, return_counts=True)
    shared = (np.bincount(tie, losses) / size)[np.sort(tie)]
    risk = np.cumsum(shared) / kept
    oracle = np.cumsum(np.sort(losses)) / kept
    return RiskCoverage(kept / len(losses), risk, float(risk.mean()), float(losses.mean()), float(oracle.mean()))


def sigma_error_spearman(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Metric:
    """Spearman's correlation of sigma and |error|; NaN where either is constant."""

    def one(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> float:
        errors = np.abs(y - m)
        if np.ptp(v) == 0 or np.ptp(errors) == 0:
            return np.nan
        return float(np.corrcoef(rankdata(v), rankdata(errors))[0, 1])

    return per_axis(one, truth, mean, variance, positive_last=True)


def _complete(truth: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, m, v = columns(truth, mean, variance)
    if y.ndim != 1:
        raise ValueError(f"expected one axis, shape (N,); got {y.shape}")
    complete = np.isfinite(y) & np.isfinite(m) & np.isfinite(v) & (v > 0)
    return y[complete], m[complete], v[complete]


def equal_count_bins(sigma: np.ndarray, bins: int) -> list[np.ndarray]:
    """The rows of each bin of equal count, ascending; one for each distinct sigma where there are no more of them."""
    distinct, which = np.unique(sigma, return_inverse=True)
    if len(distinct) <= bins:
        return [np.flatnonzero(which == i) for i in range(len(distinct))]
    return np.array_split(np.argsort(sigma, kind="stable"), bins)


def _equal_width(sigma: np.ndarray, bins: int) -> list[np.ndarray]:
    if not len(sigma):
        return []
    edges = np.linspace(sigma.min(), sigma.max(), bins + 1)
    which = np.clip(np.searchsorted(edges, sigma, side="right") - 1, 0, bins - 1)
    return [np.flatnonzero(which == i) for i in range(bins) if np.any(which == i)]
