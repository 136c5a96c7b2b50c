"""What a human reaches: how sure the labels themselves are, and how near one rater comes to the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Ceilings:
    """The best that labels of finite raters allow to measure, and one rater as a system among the others.

    Attributes:
        reliability: share of the labels' variance that is not the raters' noise, in [0, 1].
        attainable_r: correlation of a perfect prediction with the labels.
        floor_mae: mean absolute error of a perfect prediction.
        rater_r: correlation of one rater with the mean of the others.
        rater_mae: mean absolute difference of one rater from the mean of the others.
        n: rows with a label, an SD and at least two raters.
    """

    reliability: float
    attainable_r: float
    floor_mae: float
    rater_r: float
    rater_mae: float
    n: int


def human_ceilings(labels: ArrayLike, deviation: ArrayLike, raters: ArrayLike) -> Ceilings:
    """Ceilings of one axis, from how far raters differ; their noise is taken as Gaussian and independent.

    A label's error is SE = SD / sqrt(raters). Reliability = 1 - mean SE^2 / var(labels), attainable r its root, and
    floor of the MAE sqrt(2/pi) mean SE. One rater against the mean of the others, whose error is
    SD / sqrt(raters - 1): r and MAE of two such noisy readings of one true value.

    Args:
        labels: mean ratings, (N,), reference scale.
        deviation: standard deviations between raters, (N,), the same scale.
        raters: how many rated, (N,); a row that lacks any of the three, or has one rater, is left out.

    Returns:
        NaN where there are fewer than two rows or labels do not vary; reliability 0 where all variance is noise.

    Raises:
        ValueError: if the arrays are not (N,) of one length.

    Source: Spearman 1904 (attenuation); Lord & Novick 1968, chapter 3.
    """
    y, sd, n = (np.asarray(values, dtype=np.float64) for values in (labels, deviation, raters))
    if y.ndim != 1 or not y.shape == sd.shape == n.shape:
        raise ValueError(f"expected three arrays of one shape (N,); got {y.shape}, {sd.shape} and {n.shape}")
    known = np.isfinite([y, sd, n]).all(axis=0) & (n > 1) & (sd >= 0)
    y, sd, n = y[known], sd[known], n[known]
    if len(y) < 2 or np.ptp(y) == 0:
        return Ceilings(np.nan, np.nan, np.nan, np.nan, np.nan, len(y))
    se = sd / np.sqrt(n)
    true = max(0.0, float(y.var(ddof=1) - np.square(se).mean()))
    reliability = true / float(y.var(ddof=1))
    of_one, of_others = np.square(sd), np.square(sd) / (n - 1)
    rater_r = true / np.sqrt((true + of_one.mean()) * (true + of_others.mean())) if true else 0.0
    apart = np.sqrt(of_one + of_others).mean()
    normal = np.sqrt(2 / np.pi)
    return Ceilings(
        reliability, np.sqrt(reliability), float(normal * se.mean()), float(rater_r), float(normal * apart), len(y)
    )
