"""Metrics that are no means of rows: Student's t from what they come to without each group in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.axes import columns
from emofuse.metrics.inference.estimate import Inference, check_confidence, t_interval, t_p
from emofuse.metrics.inference.groups import effective_groups, satterthwaite
from emofuse.metrics.sums import SUMMABLE, SummedMetrics, group_numbers


@dataclass(frozen=True)
class _Scale:
    """Where a metric's error is nearly symmetric: there, back again, slope of the way back, and whether 0 is tested."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    tests_zero: bool


def _same(values: np.ndarray) -> np.ndarray:
    return values


_PLAIN = _Scale(_same, _same, np.ones_like, True)
_FISHER = _Scale(np.arctanh, np.tanh, lambda z: 1 - np.square(np.tanh(z)), True)
_SCALES = {"ccc": _FISHER, "pearson": _FISHER, "rmse": _Scale(np.log, np.exp, np.exp, False)}


def jackknife(
    truth: ArrayLike,
    mean: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = ("rmse", "ccc", "pearson"),
    confidence: float = 0.95,
) -> dict[str, Inference]:
    """Metrics of one system, each by the jackknife-t over groups, on atanh for CCC and Pearson and on log for RMSE.

    Leaving a group out takes its sums from the totals, so the cost is one pass over the rows and one over the
    groups. Degrees of freedom are those of `ratio_mean` for the same group sizes.

    Args:
        truth: labels of one axis, (N,); a row that lacks any value is left out.
        mean: predictions, (N,).
        groups: names, shape (N,); None: every row is its own group.
        metrics: names of `sums.SUMMABLE`; those not named above on their own scale.
        confidence: of the two-sided intervals.

    Returns:
        By metric. No error with one group, or where the metric is undefined without some group or has no finite
        place on its scale (a correlation of exactly 1, an RMSE of 0). RMSE has no p.

    Raises:
        ValueError: if shapes do not agree, or a metric or the confidence is not as above.

    Source: Tukey 1958; Fisher's z; Lin 1989, Biometrics 45, for atanh of the concordance.
    """
    return _inferred(truth, (mean,), groups, metrics, _SCALES, confidence)


def jackknife_difference(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = ("rmse", "ccc", "pearson"),
    confidence: float = 0.95,
) -> dict[str, Inference]:
    """metric(a) - metric(b) on the rows that both have, by the plain jackknife-t over groups.

    Args, Returns and Raises: as `jackknife`, with two systems; every difference has a p.
    """
    return _inferred(truth, (a, b), groups, metrics, {}, confidence)


def _inferred(
    truth: ArrayLike,
    means: Sequence[ArrayLike],
    groups: ArrayLike | None,
    metrics: Iterable[str],
    scales: dict[str, _Scale],
    confidence: float,
) -> dict[str, Inference]:
    check_confidence(confidence)
    names = _known(metrics)
    y, *sides = columns(truth, *means)
    if y.ndim != 1:
        raise ValueError(f"expected one axis, shape (N,); got {y.shape}")
    complete = np.isfinite([y, *sides]).all(axis=0)
    number, _ = group_numbers(groups, len(y))
    number, n_groups = group_numbers(number[complete], int(complete.sum()))
    if not n_groups:
        return {name: _nothing(confidence) for name in names}
    sums = SummedMetrics([[(y[complete], side[complete], number)] for side in sides], n_groups, names)
    observed, without = sums.observed(), sums.without_each()
    sizes = np.bincount(number, minlength=n_groups).astype(np.float64)
    return {
        name: _student(observed[k], without[:, k], sizes, scales.get(name, _PLAIN), confidence)
        for k, name in enumerate(names)
    }


def _student(
    observed: np.ndarray, without: np.ndarray, sizes: np.ndarray, scale: _Scale, confidence: float
) -> Inference:
    with np.errstate(divide="ignore", invalid="ignore"):
        value, left = scale.there(observed), scale.there(without)
        error = np.sqrt((len(sizes) - 1) / len(sizes) * np.square(left - left.mean()).sum())
    error = error if len(sizes) > 1 else np.nan
    df = satterthwaite(sizes)
    low, high = (float(scale.back(end)) for end in t_interval(value, error, df, confidence))
    p = float(t_p(value, error, df)) if scale.tests_zero else np.nan
    se = float(error * scale.slope(value))
    counts = int(sizes.sum()), len(sizes), float(effective_groups(sizes))
    return Inference(float(observed), se, float(df), p, low, high, confidence, *counts)


def _nothing(confidence: float) -> Inference:
    return Inference(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, confidence, 0, 0, np.nan)


def _known(metrics: Iterable[str]) -> list[str]:
    names = list(metrics)
    unknown = [name for name in names if name not in SUMMABLE]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(SUMMABLE)}")
    return names
