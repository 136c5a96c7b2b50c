"""An estimate with what its groups say of its error: one t statistic for the test and for the interval."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from emofuse.metrics.axes import Metric

POWER = 0.8
"""Of the minimum detectable difference."""


@dataclass(frozen=True, eq=False)
class Inference:
    """An estimate, its standard error over groups, and the test and interval that follow; floats, or arrays (K,).

    Attributes:
        estimate: over all rows; NaN without rows.
        se: standard error in the units of `estimate`; NaN with fewer than two groups.
        df: degrees of freedom of `se`, by Satterthwaite.
        p: two-sided, of an estimate of 0; NaN where that is no hypothesis or `se` is NaN. Without any spread
            (`se` 0) it is 0, or 1 where the estimate is 0 too.
        low, high: ends of the two-sided interval; NaN where `se` is.
        confidence: of the interval, within (0, 1).
        n: rows.
        n_groups: groups with a row.
        n_effective_groups: groups of equal size that would say as much, (sum n)^2 / sum n^2.
    """

    estimate: Metric
    se: Metric
    df: Metric
    p: Metric
    low: Metric
    high: Metric
    confidence: float
    n: Metric
    n_groups: Metric
    n_effective_groups: Metric

    @property
    def minimum_detectable(self) -> Metric:
        """The difference from 0 that 80 % of such data would show at the 5 % level, (t.975 + t.8) * SE."""
        return (t_quantile(self.df, 0.975) + t_quantile(self.df, POWER)) * self.se

    def at(self, k: int) -> Inference:
        """The `k`-th of K estimates by itself."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Inference(**{name: value if name == "confidence" else value[k].item() for name, value in values.items()})


def check_confidence(confidence: float) -> None:
    """Refuses what is no confidence.

    Raises:
        ValueError: if `confidence` is not within (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence within (0, 1); got {confidence}")


def t_quantile(df: ArrayLike, probability: float) -> Any:
    """Student's quantile; NaN where `df` is."""
    return stdtrit(df, probability)


def t_interval(estimate: ArrayLike, se: ArrayLike, df: ArrayLike, confidence: float) -> tuple[Any, Any]:
    """Ends of Student's two-sided interval, estimate ± t SE; arrays of one shape or floats.

    Raises:
        ValueError: if `confidence` is not within (0, 1).
    """
    check_confidence(confidence)
    half = t_quantile(df, (1 + confidence) / 2) * np.asarray(se)
    return estimate - half, estimate + half


def t_p(estimate: ArrayLike, se: ArrayLike, df: ArrayLike) -> Any:
    """Two-sided p of Student's t = estimate / SE; where SE is 0, 1 for an estimate of 0 and else 0."""
    value, error = np.asarray(estimate, dtype=np.float64), np.asarray(se, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(value == 0, 0 * error, np.abs(value) / error)
    return 2 * stdtr(df, -t)
