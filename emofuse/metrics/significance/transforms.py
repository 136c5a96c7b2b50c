"""Scales on which the error of a metric is nearly symmetric: the interval is made there and carried back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emofuse.metrics.significance.estimate import Inference, t_interval, t_p
from emofuse.metrics.significance.groups import effective_groups, satterthwaite


@dataclass(frozen=True)
class Transform:
    """A scale and the way back.

    Attributes:
        there: metric to scale.
        back: scale to metric.
        slope: of the way back, at a point of the scale.
        tests_zero: whether the scale's 0 is a hypothesis (an RMSE of 1 is none).
    """

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    tests_zero: bool = True

    def student(self, estimate: float, error: float, sizes: np.ndarray, confidence: float) -> Inference:
        """The t statistic of an estimate whose standard error on the scale is `error`, from groups of `sizes` (G,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.there(np.asarray(estimate))
            known = len(sizes) > 1 and np.isfinite(value)
            error = error if known else np.nan
            se = float(error * self.slope(value))
        df = float(satterthwaite(sizes))
        low, high = (float(self.back(end)) for end in t_interval(value, error, df, confidence))
        p = float(t_p(value, error, df)) if self.tests_zero else np.nan
        counts = int(sizes.sum()), len(sizes), float(effective_groups(sizes))
        return Inference(float(estimate), se, df, p, low, high, confidence, *counts)


def _same(values: np.ndarray) -> np.ndarray:
    return values


PLAIN = Transform(_same, _same, np.ones_like)
FISHER = Transform(np.arctanh, np.tanh, lambda z: 1 - np.square(np.tanh(z)))
LOG = Transform(np.log, np.exp, np.exp, tests_zero=False)


def nothing(confidence: float) -> Inference:
    """What no rows say."""
    return Inference(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, confidence, 0, 0, np.nan)
