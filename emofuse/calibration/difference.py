"""The difference of a score between two predictors of the same rows: all that a calibration's verdict rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics import accuracy
from emofuse.metrics.resampling.pairs import Statistic, compare
from emofuse.metrics.significance import paired_bootstrap, paired_permutation

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


def paired_difference(
    name: str,
    truth: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Score of a minus score of b, with its interval and p; all that the verdict's statistics rest on.

    Args:
        name: a metric and an axis, as `score` takes it.
        truth: (N, 2).
        a: (N, 2), means of one predictor.
        b: (N, 2), of the other.
        groups: (N,), integers.
        confidence: of the interval.
        resamples: of bootstrap and permutation.
        seed: of these.

    Returns:
        `difference`, `ci_low`, `ci_high`, `p`, `n`, `n_groups`.
    """
    metric, axis = name.split("_")
    statistic: Statistic = STATISTICS[metric]
    if axis != "avg":
        column = "va".index(axis)
        truth, a, b = truth[:, column], a[:, column], b[:, column]
    elif metric == "mae":
        # The mean over axes of |error| is itself an error per row, from zero.
        truth, a, b = np.zeros(len(truth)), np.abs(a - truth).mean(axis=1), np.abs(b - truth).mean(axis=1)
    else:
        statistic = _average_of(statistic)
    kwargs: dict[str, Any] = {"resamples": resamples, "rng": seed}
    interval = paired_bootstrap(truth, a, b, statistic, groups, confidence=confidence, **kwargs)
    pulls = jackknife_pseudovalues(truth, a, b, statistic, groups)
    p = paired_permutation(np.zeros_like(pulls), pulls, np.zeros_like(pulls), accuracy.bias, **kwargs).p
    return {
        "difference": float(interval.difference),
        "ci_low": float(interval.ci_low),
        "ci_high": float(interval.ci_high),
        "p": float(p),
        "n": interval.n,
        "n_groups": interval.n_groups,
    }


def jackknife_pseudovalues(
    truth: np.ndarray, a: np.ndarray, b: np.ndarray, statistic: Statistic, groups: np.ndarray
) -> np.ndarray:
    """What each group contributes to statistic(a) - statistic(b): jackknife pseudo-values, (n_groups,).

    Of very many groups, bundles of them take their place, as wherever groups are resampled.

    Their signs are flipped in place of exchanging the predictors. For the MAE that is the same test. For the
    CCC it asks whether its difference is 0, where exchanging asks whether the predictors could be one: a
    calibration shifts them apart, so that mixtures of the two have any CCC, and no gain would ever be shown.

    Source: Tukey 1958 for pseudo-values.
    """
    pair = compare(truth, a, b, statistic, groups)
    n = pair.n_units
    return np.asarray(n * pair.observed() - (n - 1) * pair.jackknife())[:, 0]


def _average_of(statistic: Statistic) -> Statistic:
    return lambda truth, mean: float(np.mean(statistic(truth, mean)))
