"""Accuracy of the means: errors, correlations, agreement of signs.

Every function takes (truth, mean), both (N,) or both (N, 2), and gives a float or an array (2,). A row whose
truth or prediction is missing (NaN) on an axis is left out of that axis; without any row the result is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from emofuse.metrics.axes import Metric, per_axis


def mae(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Mean absolute error, mean |m - y|, in the units of the arguments."""
    return per_axis(lambda y, m: np.abs(m - y).mean(), truth, mean)


def rmse(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Root mean squared error, sqrt(mean (m - y)^2), in the units of the arguments."""
    return per_axis(lambda y, m: np.sqrt(np.square(m - y).mean()), truth, mean)


def bias(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Mean error, mean (m - y): positive where the prediction is too high."""
    return per_axis(lambda y, m: (m - y).mean(), truth, mean)


def concordance(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Concordance correlation coefficient, 2 s_ym / (s_y^2 + s_m^2 + (ȳ - m̄)^2), moments with 1/n.

    In [-1, 1]; 0 where one side is constant; NaN where both are constant and equal. Pool the rows and
    compute it once: a mean over batches or groups is another quantity.

    Source: Lin 1989, Biometrics 45; 1/n throughout as there (`audmetric.concordance_cc` agrees).
    """
    return per_axis(_concordance, truth, mean)


def concordance_of_moments(y_spread: ArrayLike, m_spread: ArrayLike, together: ArrayLike, apart: ArrayLike) -> Any:
    """The concordance of variances s_y^2 and s_m^2, covariance s_ym (all with 1/n) and difference of means."""
    below = np.add(y_spread, m_spread) + np.square(apart)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, 2 * np.asarray(together) / below, np.nan)


def pearson(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Pearson's correlation in [-1, 1]; NaN where one side is constant."""
    return per_axis(_pearson, truth, mean)


def spearman(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Spearman's rank correlation in [-1, 1], ties sharing their mean rank; NaN where one side is constant."""
    return per_axis(lambda y, m: _pearson(rankdata(y), rankdata(m)), truth, mean)


def sagr(truth: ArrayLike, mean: ArrayLike) -> Metric:
    """Share of rows whose sign agrees, mean [sign(y) = sign(m)], in [0, 1].

    The rule for zero: it has a sign of its own, so a zero agrees with a zero only.

    Source: `emonet/metrics.py` of Toisoul et al. 2021.
    """
    return per_axis(lambda y, m: (np.sign(y) == np.sign(m)).mean(), truth, mean)


METRICS: dict[str, Callable[[ArrayLike, ArrayLike], Metric]] = {
    "mae": mae,
    "rmse": rmse,
    "ccc": concordance,
    "pearson": pearson,
    "spearman": spearman,
    "sagr": sagr,
    "bias": bias,
}
"""The metrics by their names in the tables."""

HIGHER_IS_BETTER: dict[str, bool | None] = {
    "mae": False,
    "rmse": False,
    "ccc": True,
    "pearson": True,
    "spearman": True,
    "sagr": True,
    "bias": None,
}
"""Which way each metric improves; None: towards zero, so a difference alone is no gain or loss."""


def _deviations(x: np.ndarray) -> tuple[float, np.ndarray]:
    # A constant's mean can miss it in the last digit; its deviations must be exactly zero nevertheless.
    centre = float(x[0]) if np.ptp(x) == 0 else float(x.mean())
    return centre, x - centre


def _concordance(y: np.ndarray, m: np.ndarray) -> float:
    (y_mean, dy), (m_mean, dm) = _deviations(y), _deviations(m)
    spreads = dy @ dy / len(y), dm @ dm / len(y), dy @ dm / len(y)
    return float(concordance_of_moments(*spreads, m_mean - y_mean))


def _pearson(y: np.ndarray, m: np.ndarray) -> float:
    dy, dm = _deviations(y)[1], _deviations(m)[1]
    below = np.sqrt((dy @ dy) * (dm @ dm))
    return float(np.clip(dy @ dm / below, -1, 1)) if below > 0 else np.nan
