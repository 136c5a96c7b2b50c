"""ENCE and miscalibration area by their influence functions: what each row adds to them, bins held as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from emofuse.metrics.reliability import ence, equal_count_bins, miscalibration_area, reliability_curve
from emofuse.metrics.significance.estimate import Inference
from emofuse.metrics.significance.groups import group_numbers
from emofuse.metrics.significance.means import ratio_mean
from emofuse.metrics.significance.transforms import LOG


def calibration_errors(
    truth: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    groups: ArrayLike | None = None,
    *,
    bins: int = 10,
    confidence: float = 0.95,
) -> dict[str, Inference]:
    """ENCE and miscalibration area of one system on one axis, with Student's t on the logarithm.

    Both are sums of absolute deviations. A row's influence is the derivative of these towards more weight of that
    row, and the error that of `ratio_mean` for the influences. The interval is for the value that data of this size
    have on average, which is above 0 under perfect calibration too (`expected_ence`): there it is too wide.

    Args:
        truth: labels, (N,), all known.
        mean: predictions, (N,).
        variance: theirs, (N,), above 0.
        groups: names, shape (N,); None: every row is its own group.
        bins: of ENCE.
        confidence: of the two-sided intervals.

    Returns:
        By "ence" and "miscalibration_area"; no p. No error with one group or a value of 0.

    Source: Hampel 1974 (influence function).
    """
    number, _ = group_numbers(groups, len(truth))
    sizes = np.bincount(number).astype(np.float64)
    rows = truth, mean, variance
    found = {}
    for name, value, pull in (
        ("ence", ence(*rows, bins), _of_ence(np.square(truth - mean), variance, bins)),
        ("miscalibration_area", miscalibration_area(*rows), _of_area(*rows)),
    ):
        with np.errstate(divide="ignore", invalid="ignore"):
            error = ratio_mean(pull, number).se / value
        found[name] = LOG.student(value, error, sizes, confidence)
    return found


def _of_ence(square: np.ndarray, variance: np.ndarray, bins: int) -> np.ndarray:
    """Of mean |RMSE_b / RMV_b - 1| over bins, whose derivative towards a row is half of e²/MSE - v/MV, times N / n."""
    parts = equal_count_bins(np.sqrt(variance), bins)
    pull = np.zeros(len(square))
    for part in parts:
        e, v = square[part], variance[part]
        ratio = np.sqrt(e.mean() / v.mean())
        relative = e / e.mean() - v / v.mean() if ratio > 0 else 0.0
        pull[part] = np.sign(ratio - 1) * ratio / 2 * relative * len(square) / len(part) / len(parts)
    return pull


def _of_area(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Of the integral of |observed - expected|: where the curve is above, a row adds what lies right of its level."""
    expected, observed = reliability_curve(truth, mean, variance)
    above = np.sign(observed - expected)
    own = 2 * norm.cdf(np.abs(truth - mean) / np.sqrt(variance)) - 1
    right = np.concatenate([np.cumsum(above[::-1])[::-1], [0.0]]) * (expected[1] - expected[0])
    pull = right[np.searchsorted(expected, own)]
    return pull - pull.mean()
