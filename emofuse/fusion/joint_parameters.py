"""What is known of several experts together: all that the joint Gaussian needs, fitted once and stored.

Rows on which several experts have a mean are another population than all rows. Pictures with a face are another
sort than pictures, their labels have another spread, and the scene expert errs less or more on them than elsewhere.
So the prior, the correlations and a scale of each expert's variance are those of the joined rows.

Where errors go together, weights hang on the ratio of the experts' variances: at a correlation of .9 a difference of
a tenth moves a weight by a quarter. A ratio that moves from row to row by noise then costs more than it tells. So a
row's variances keep their common level, and their ratio is each expert's typical one unless the labels show that
the row's own does better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import VARIANCE_FLOOR
from emofuse.errors import DataError
from emofuse.fusion.error_correlation import (
    ASSUMED,
    FEWEST_ROWS,
    PRIOR_ROWS,
    estimate_error_correlation,
)
from emofuse.fusion.inputs import Fused, usable
from emofuse.fusion.joint_gaussian import joint_gaussian
from emofuse.fusion.rules import best_linear_unbiased
from emofuse.metrics.uncertainty import nll_rows

POWERS = (0.0, 0.5, 1.0)
"""How far a row's own ratio of variances may be followed, the plainest first."""


@dataclass(frozen=True, eq=False)
class JointParameters:
    """What is known of K experts together, per axis.

    Attributes:
        prior_mean: μ (A,), of the labels of joined rows, reference scale.
        prior_variance: τ² (A,), their mean squared deviation.
        errors: (A, K, K), correlation of the errors, for best linear unbiased weights.
        given_truth: (A, K, K), correlation given the truth, for the joint Gaussian.
        variance_scale: (K, A), by which an expert's variances are multiplied on joined rows.
        typical_variance: (K, A), the geometric mean of the expert's variances there, before that scale.
        ratio_power: (A,), how far a row's own ratio of variances is followed: 0 not at all, 1 wholly.
        rows: (A, K, K), rows behind each correlation.
        assumed: bool (A, K, K), whether it was assumed for lack of rows.
    """

    prior_mean: np.ndarray
    prior_variance: np.ndarray
    errors: np.ndarray
    given_truth: np.ndarray
    variance_scale: np.ndarray
    typical_variance: np.ndarray
    ratio_power: np.ndarray
    rows: np.ndarray
    assumed: np.ndarray

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit and numbers that cannot be.

        Raises:
            DataError: saying which.
        """
        experts, axes = np.shape(self.variance_scale)
        pair, numbers = (axes, experts, experts), [getattr(self, each.name) for each in fields(self)]
        each = (experts, axes)
        expected = [(axes,), (axes,), pair, pair, each, each, (axes,), pair, pair]
        if [np.shape(each) for each in numbers] != expected:
            raise DataError(f"expected joint parameters of shapes {expected}; got {[np.shape(x) for x in numbers]}")
        if not all(np.isfinite(each).all() for each in numbers):
            raise DataError("joint parameters must be finite")
        if any((number <= 0).any() for number in (self.prior_variance, self.variance_scale, self.typical_variance)):
            raise DataError("prior, typical variances and variance scales must be above 0")

    def joint_gaussian(self, mean: ArrayLike, variance: ArrayLike, **options: Any) -> Fused:
        """The posterior of experts that were fitted for squared error, (K, ..., A)."""
        scaled = self.joined_variance(mean, variance)
        return joint_gaussian(mean, scaled, self.prior_mean, self.prior_variance, self.given_truth, **options)

    def best_linear_unbiased(
        self, mean: ArrayLike, variance: ArrayLike, *, floor: float = VARIANCE_FLOOR, pooled: ArrayLike | None = None
    ) -> Fused:
        """The weighted mean of experts of whose fitting nothing is known, (K, ..., A)."""
        scaled = self.joined_variance(mean, variance)
        return best_linear_unbiased(mean, scaled, self.errors, cap=True, floor=floor, pooled=pooled)

    def joined_variance(self, mean: ArrayLike, variance: ArrayLike) -> np.ndarray:
        """Variances (K, ..., A) as they are joined where several experts have a mean, as they are elsewhere."""
        v, present = np.asarray(variance, dtype=np.float64), np.isfinite(np.asarray(mean))
        shape = (len(v), *(1,) * (v.ndim - 2), v.shape[-1])
        evened = _evened(v, present, self.typical_variance.reshape(shape), self.ratio_power)
        return np.where(present.sum(axis=0) > 1, evened * self.variance_scale.reshape(shape), v)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs, as lists."""
        return {each.name: np.asarray(getattr(self, each.name)).tolist() for each in fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> JointParameters:
        """The inverse of `to_dict`.

        Raises:
            DataError: if an entry is missing or is not what it should be.
        """
        try:
            return cls(**{each.name: np.asarray(content[each.name], dtype=_kind(each.name)) for each in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"these are no joint parameters: {error}") from None


def _kind(name: str) -> type:
    return {"rows": int, "assumed": bool}.get(name, float)


def _evened(variance: np.ndarray, present: np.ndarray, typical: np.ndarray, power: np.ndarray) -> np.ndarray:
    """`typical_k exp(level + power (r_k - level))`, where `r_k = log(v_k / typical_k)` and level is a row's mean r."""
    known = present & usable(variance)
    ratio = np.where(known, np.log(np.where(known, variance, 1.0) / typical), 0.0)
    level = ratio.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, typical * np.exp(level + power * (ratio - level)), variance)


def fit_joint_parameters(
    truth: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    prior_rows: float = PRIOR_ROWS,
) -> JointParameters:
    """What the labels tell of experts together.

    The scale of an expert's variance is `(n0 + sum (y - m)² / v) / (n0 + n)` over joined rows. A row's own ratio of
    variances is followed where the joint Gaussian's NLL falls by more than one standard error over groups. Where an
    axis has fewer than ten joined rows, its prior is that of all labels.

    Args:
        truth: (N, A), reference scale; NaN = no label.
        mean: (K, N, A), corrected, each row by what was fitted without its group; NaN = no opinion.
        variance: (K, N, A), recalibrated, likewise; unknown ones are left out.
        groups: (N,), what is never split; by default every row is its own.
        prior_rows: n0, rows' worth of belief in the assumed correlation and in a scale of 1.

    Raises:
        DataError: if an axis has no two different labels.
    """
    y, m, v = (np.asarray(each, dtype=np.float64) for each in (truth, mean, variance))
    label = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    found = estimate_error_correlation(y, m, groups=label, prior_rows=prior_rows)
    mu, tau2 = _prior(y, m)
    fitted = []
    for power in POWERS:
        typical, scale = _scales(y, m, v, power, prior_rows)
        both = (np.full(len(tau2), power), found.rows, found.assumed)
        fitted.append(JointParameters(mu, tau2, found.errors, found.given_truth, scale, typical, *both))
    best = _powers(y, m, v, label, fitted)
    scale = np.stack([fitted[k].variance_scale[:, axis] for axis, k in enumerate(best)], axis=1)
    return replace(fitted[0], variance_scale=scale, ratio_power=np.array(POWERS)[best])


def _prior(truth: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (A,) of the labels of joined rows, or of all where these are few."""
    joined = np.isfinite(truth) & (np.isfinite(mean).sum(axis=0) > 1)
    kept = np.where(joined.sum(axis=0) >= FEWEST_ROWS, joined, np.isfinite(truth))
    labels = [column[rows] for column, rows in zip(truth.T, kept.T, strict=True)]
    if any(len(np.unique(each)) < 2 for each in labels):
        raise DataError("the labels of each axis must differ; an axis has fewer than two different ones")
    return np.array([each.mean() for each in labels]), np.array([each.var() for each in labels])


def _scales(
    truth: np.ndarray, mean: np.ndarray, variance: np.ndarray, power: float, prior_rows: float
) -> tuple[np.ndarray, np.ndarray]:
    """Typical variances and scales, each (K, A), of joined rows; 1 where there are none."""
    several = np.isfinite(mean).sum(axis=0) > 1
    known = np.isfinite(truth) & several & np.isfinite(mean) & usable(variance)
    count = known.sum(axis=1)
    typical = np.exp(np.log(np.where(known, variance, 1.0)).sum(axis=1) / np.maximum(count, 1))
    evened = _evened(variance, np.isfinite(mean), typical[:, None], np.full(truth.shape[1], power))
    square = np.where(known, truth - mean, 0.0) ** 2 / np.where(known, evened, 1.0)
    return typical, (prior_rows + square.sum(axis=1)) / (prior_rows + count)


def _powers(
    truth: np.ndarray, mean: np.ndarray, variance: np.ndarray, groups: np.ndarray, fitted: list[JointParameters]
) -> np.ndarray:
    """Of each axis, which of the fitted is to be served (A,): the first, unless another is surely better."""
    losses = []
    for each in fitted:
        fused = each.joint_gaussian(mean, variance)
        losses.append(nll_rows(truth, fused.mean, fused.variance))
    several = (np.isfinite(mean) & usable(variance)).sum(axis=0) > 1
    gains = np.where(several & np.isfinite(losses[0]), losses[0] - np.array(losses), 0.0)
    sums = np.stack([[np.bincount(groups, gain) for gain in each.T] for each in gains])
    sure = gains.sum(axis=1) - np.sqrt((sums**2).sum(axis=2))
    best = gains.sum(axis=1).argmax(axis=0)
    return np.where(np.take_along_axis(sure, best[None], axis=0)[0] > 0, best, 0)


def assumed_joint_parameters(prior_mean: ArrayLike, prior_variance: ArrayLike, experts: int = 2) -> JointParameters:
    """Of experts that were never seen together: the assumed correlation, and variances as they are.

    Args:
        prior_mean: μ (A,), for instance of the labels the face expert was fitted on.
        prior_variance: τ² (A,).
        experts: K.
    """
    mu, tau2 = np.asarray(prior_mean, dtype=np.float64), np.asarray(prior_variance, dtype=np.float64)
    pair = (len(mu), experts, experts)
    rho = np.where(np.eye(experts, dtype=bool), 1.0, np.full(pair, ASSUMED))
    apart = np.broadcast_to(~np.eye(experts, dtype=bool), pair)
    one = np.ones((experts, len(mu)))
    return JointParameters(mu, tau2, rho, rho, one, one, np.ones(len(mu)), np.zeros(pair, dtype=int), apart)
