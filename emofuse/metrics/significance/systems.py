"""All metrics of a system, or of the difference between two, on one axis: which inference belongs to which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.axes import columns
from emofuse.metrics.significance.calibration_errors import calibration_errors
from emofuse.metrics.significance.estimate import Inference
from emofuse.metrics.significance.jackknife import jackknife, jackknife_difference
from emofuse.metrics.significance.means import ratio_mean
from emofuse.metrics.significance.proportions import proportion
from emofuse.metrics.significance.ranks import rank_correlation
from emofuse.metrics.uncertainty import LEVELS, crps_rows, ence_of_perfect, half_width, nll_rows

JACKKNIFED = ("rmse", "ccc", "pearson")


def accuracy(
    truth: ArrayLike, mean: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> dict[str, Inference]:
    """Every metric of `accuracy.METRICS` of one system on one axis.

    Args:
        truth: labels, (N,); a row that lacks any value is left out.
        mean: predictions, (N,).
        groups: names, shape (N,); None: every row is its own group.
        confidence: of the two-sided intervals.

    Raises:
        ValueError: if shapes do not agree or `confidence` is not within (0, 1).
    """
    y, m = _one_axis(truth, mean)
    found = jackknife(y, m, groups, metrics=JACKKNIFED, confidence=confidence)
    errors = ratio_mean(np.column_stack([np.abs(m - y), m - y]), groups, confidence=confidence)
    agree = np.where(np.isfinite(m - y), np.sign(y) == np.sign(m), np.nan)
    return {
        "mae": errors.at(0),
        **found,
        "spearman": rank_correlation(y, m, groups, confidence=confidence),
        "sagr": proportion(agree, groups, confidence=confidence),
        "bias": errors.at(1),
    }


def certainty(
    truth: ArrayLike, mean: ArrayLike, variance: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> dict[str, Inference]:
    """Every metric of `uncertainty.uncertainty_metrics` of one system on one axis.

    Args:
        variance: (N,); a row where it is not above 0 is left out.
        Others as `accuracy`.

    Returns:
        By metric; none without a row. `ence_expected` has no interval.
    """
    y, m, v = _one_axis(truth, mean, variance)
    known = np.isfinite([y, m, v]).all(axis=0) & (v > 0)
    if not known.any():
        return {}
    y, m, v = y[known], m[known], v[known]
    group = None if groups is None else np.asarray(groups)[known]
    options: dict[str, Any] = {"groups": group, "confidence": confidence}
    z = np.abs(y - m) / np.sqrt(v)
    losses = ratio_mean(np.column_stack([nll_rows(y, m, v), crps_rows(y, m, v), z * z]), **options)
    covered = proportion(np.column_stack([z <= half_width(level) for level in LEVELS]), **options)
    errors = calibration_errors(y, m, v, **options)
    return {
        **{name: losses.at(k) for k, name in enumerate(("nll", "crps", "zms"))},
        **errors,
        "ence_expected": _without_error(errors["ence"], float(ence_of_perfect(v))),
        # Sharpness, the root of the mean variance, is the RMSE of errors of one standard deviation.
        "sharpness": jackknife(np.zeros_like(v), np.sqrt(v), metrics=["rmse"], **options)["rmse"],
        **{f"coverage_{round(100 * level)}": covered.at(k) for k, level in enumerate(LEVELS)},
        "sigma_error_spearman": rank_correlation(v, np.abs(y - m), **options),
    }


def difference(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = ("mae", *JACKKNIFED, "sagr"),
    confidence: float = 0.95,
) -> dict[str, Inference]:
    """metric(a) - metric(b) on one axis, on the rows that both have.

    Args:
        metrics: of "mae", "rmse", "ccc", "pearson", "sagr".
        Others as `accuracy`, with two systems.

    Raises:
        ValueError: if shapes do not agree, or a metric or the confidence is not as above.
    """
    y, first, second = _one_axis(truth, a, b)
    names = list(metrics)
    known = np.isfinite([y, first, second]).all(axis=0)
    rows = {
        "mae": np.abs(first - y) - np.abs(second - y),
        "sagr": 1.0 * (np.sign(first) == np.sign(y)) - (np.sign(second) == np.sign(y)),
    }
    curved = [name for name in names if name not in rows]
    found = jackknife_difference(y, first, second, groups, metrics=curved, confidence=confidence) if curved else {}
    for name in set(names) & set(rows):
        found[name] = ratio_mean(np.where(known, rows[name], np.nan), groups, confidence=confidence)
    return {name: found[name] for name in names}


def _one_axis(*arrays: ArrayLike) -> list[np.ndarray]:
    values = columns(*arrays)
    if values[0].ndim != 1:
        raise ValueError(f"expected one axis, shape (N,); got {values[0].shape}")
    return values


def _without_error(like: Inference, value: float) -> Inference:
    """A figure that is computed and not estimated, of as many rows and groups."""
    return replace(like, estimate=value, se=np.nan, df=np.nan, low=np.nan, high=np.nan)
