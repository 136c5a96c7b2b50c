"""Metrics of uncertainty as a table, with group-bootstrap intervals for those that are means over rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.metrics.axes import columns
from emofuse.metrics.resampling.intervals import Method, bootstrap_counts, check_method, interval
from emofuse.metrics.resampling.metric_tables import MetricRow, seed_of
from emofuse.metrics.resampling.sums import group_numbers, resampling_units
from emofuse.metrics.uncertainty import LEVELS, crps_rows, half_width, nll_rows, uncertainty_metrics

_MEANS = ("nll", "crps", "zms", "sharpness", *(f"coverage_{round(100 * level)}" for level in LEVELS))


def uncertainty_table(
    truth: ArrayLike,
    systems: Mapping[str, tuple[ArrayLike, ArrayLike]],
    groups: ArrayLike | None = None,
    *,
    bins: int = 10,
    resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "BCa",
    rng: np.random.Generator | int = 0,
) -> list[MetricRow]:
    """Every metric of `uncertainty_metrics` of every system on both axes.

    NLL, CRPS, ZMS, sharpness and the coverages carry an interval over groups. The others carry none: ENCE and the
    miscalibration area grow with the noise of a resample, so that their resamples lie above the value itself.

    Args:
        truth: labels, (N, 2), NaN where there is none.
        systems: (mean, variance) by name, each (N, 2); a row that lacks either on an axis is left out there.
        groups: names, shape (N,); None: every row is its own group.
        bins: of ENCE.
        resamples: how many; 0 for no intervals.
        confidence: of the two-sided intervals.
        method: "BCa" (percentile where that is undefined) or "percentile".
        rng: a generator or its seed.

    Returns:
        One row for each system, axis and metric; none for an axis without rows.

    Raises:
        ValueError: if shapes do not agree or an option is not one of those above.
    """
    check_method(method)
    seed = seed_of(rng)
    rows = []
    for system, (means, variances) in systems.items():
        y, m, v = columns(truth, means, variances)
        if y.ndim != 2:
            raise ValueError(f"expected both axes, shape (N, 2); got {y.shape}")
        number, _ = group_numbers(groups, len(y))
        for i, axis in enumerate(AXES):
            known = np.isfinite([y[:, i], m[:, i], v[:, i]]).all(axis=0) & (v[:, i] > 0)
            if not known.any():
                continue
            one = y[known, i], m[known, i], v[known, i]
            group, n_groups = group_numbers(number[known], int(known.sum()))
            ends = _intervals(
                _row_values(*one), *resampling_units(group, n_groups), resamples, confidence, method, seed
            )
            rows += [
                MetricRow(system, axis, name, value, *ends.get(name, (np.nan, np.nan)), len(group), n_groups)
                for name, value in uncertainty_metrics(*one, bins=bins).items()
            ]
    return rows


def _row_values(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    z = np.abs(y - m) / np.sqrt(v)
    within = [z <= half_width(level) for level in LEVELS]
    return np.column_stack([nll_rows(y, m, v), crps_rows(y, m, v), z * z, v, *within])


def _intervals(
    values: np.ndarray,
    unit: np.ndarray,
    n_units: int,
    resamples: int,
    confidence: float,
    method: Method,
    seed: int,
) -> dict[str, tuple[float, float]]:
    if n_units < 2 or not resamples:
        return {}
    sums = np.column_stack([np.bincount(unit, column, n_units) for column in [np.ones(len(values)), *values.T]])
    counts = bootstrap_counts(n_units, resamples, np.random.default_rng(seed))
    resampled = np.concatenate([_means(chunk @ sums) for chunk in counts])
    jackknife = _means(sums.sum(0) - sums) if method == "BCa" else None
    low, high = interval(_means(sums.sum(0)), resampled, jackknife, confidence)
    return dict(zip(_MEANS, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _means(sums: np.ndarray) -> np.ndarray:
    means = sums[..., 1:] / sums[..., :1]
    sharpness = _MEANS.index("sharpness")
    means[..., sharpness] = np.sqrt(means[..., sharpness])
    return means
