"""The difference of a score between two predictors of the same rows: all that a calibration's verdict rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics import accuracy
from emofuse.metrics.significance import Inference, jackknife_difference, ratio_mean

STATISTICS: dict[str, Callable[[ArrayLike, ArrayLike], Any]] = {
    "mae": accuracy.mae,
    "rmse": accuracy.rmse,
    "ccc": accuracy.concordance,
}


def score(name: str, truth: np.ndarray, mean: np.ndarray) -> float:
    """The metric and axis of that name (`mae_v`, `ccc_avg`), of means (N, 2)."""
    metric, axis = name.split("_")
    both = np.asarray(STATISTICS[metric](truth, mean))
    return float(both.mean() if axis == "avg" else both["va".index(axis)])


def paired_difference(name: str, truth: np.ndarray, a: np.ndarray, b: np.ndarray, groups: np.ndarray) -> Inference:
    """Score of a minus score of b by Student's t over groups: of the MAE by `ratio_mean`, else by the jackknife.

    Args:
        name: a metric and an axis, as `score` takes it.
        truth: (N, 2).
        a: (N, 2), means of one predictor.
        b: (N, 2), of the other.
        groups: (N,), integers.

    Source: docs/methods.md, declared comparisons.
    """
    metric, axis = name.split("_")
    if metric == "mae":
        losses = np.abs(a - truth) - np.abs(b - truth)
        return ratio_mean(losses.mean(axis=1) if axis == "avg" else losses[:, "va".index(axis)], groups)
    if axis != "avg":
        column = "va".index(axis)
        truth, a, b = truth[:, column], a[:, column], b[:, column]
    return jackknife_difference(truth, a, b, groups, metrics=[metric])[metric]
