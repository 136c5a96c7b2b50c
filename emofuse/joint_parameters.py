"""What is known of several experts together: all that the joint Gaussian needs, fitted once and stored.

Rows on which several experts have a mean are another population than all rows. Pictures with a face are another
sort than pictures, their labels have another spread, and the scene expert errs less or more on them than elsewhere.
So the prior, the correlations and a scale of each expert's variance are those of the joined rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.combination import best_linear_unbiased
from emofuse.error_correlation import (
    ASSUMED,
    FEWEST_ROWS,
    PRIOR_ROWS,
    estimate_error_correlation,
)
from emofuse.errors import DataError
from emofuse.joint_gaussian import bounded_correlation, joint_gaussian
from emofuse.opinions import FLOOR, Fused, Opinions


@dataclass(frozen=True, eq=False)
class JointParameters:
    """What is known of K experts together, per axis.

    Attributes:
        prior_mean: μ (A,), of the labels of joined rows, reference scale.
        prior_variance: τ² (A,), their mean squared deviation.
        errors: (A, K, K), correlation of the errors, for best linear unbiased weights.
        given_truth: (A, K, K), correlation given the truth, for the joint Gaussian.
        variance_scale: (K, A), by which an expert's variances are multiplied on joined rows.
        rows: (A, K, K), rows behind each correlation.
        assumed: bool (A, K, K), whether it was assumed for lack of rows.
    """

    prior_mean: np.ndarray
    prior_variance: np.ndarray
    errors: np.ndarray
    given_truth: np.ndarray
    variance_scale: np.ndarray
    rows: np.ndarray
    assumed: np.ndarray

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit and numbers that cannot be.

        Raises:
            DataError: saying which.
        """
        experts, axes = np.shape(self.variance_scale)
        pair, numbers = (axes, experts, experts), [getattr(self, each.name) for each in fields(self)]
        expected = [(axes,), (axes,), pair, pair, (experts, axes), pair, pair]
        if [np.shape(each) for each in numbers] != expected:
            raise DataError(f"expected joint parameters of shapes {expected}; got {[np.shape(x) for x in numbers]}")
        if not all(np.isfinite(each).all() for each in numbers):
            raise DataError("joint parameters must be finite")
        if (self.prior_variance <= 0).any() or (self.variance_scale <= 0).any():
            raise DataError("the prior variance and the variance scales must be above 0")

    def joint_gaussian(self, mean: ArrayLike, variance: ArrayLike, **options: Any) -> Fused:
        """The posterior of experts that were fitted for squared error, (K, ..., A)."""
        scaled = self.joined_variance(mean, variance)
        return joint_gaussian(mean, scaled, self.prior_mean, self.prior_variance, self.given_truth, **options)

    def best_linear_unbiased(
        self, mean: ArrayLike, variance: ArrayLike, *, floor: float = FLOOR, pooled: ArrayLike | None = None
    ) -> Fused:
        """The weighted mean of experts of whose fitting nothing is known, (K, ..., A)."""
        scaled = self.joined_variance(mean, variance)
        experts = Opinions.of(mean, scaled, floor, pooled)
        rho = bounded_correlation(self.errors, np.where(experts.known, experts.variance, np.nan))
        return best_linear_unbiased(mean, scaled, rho, floor=floor, pooled=pooled)

    def joined_variance(self, mean: ArrayLike, variance: ArrayLike) -> np.ndarray:
        """Variances (K, ..., A), scaled where several experts have a mean and as they are elsewhere."""
        v = np.asarray(variance, dtype=np.float64)
        several = np.isfinite(np.asarray(mean)).sum(axis=0) > 1
        scale = self.variance_scale.reshape(len(v), *(1,) * (v.ndim - 2), v.shape[-1])
        return np.where(several, v * scale, v)

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


def fit_joint_parameters(
    truth: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    prior_rows: float = PRIOR_ROWS,
) -> JointParameters:
    """What the labels tell of experts together.

    The scale of an expert's variance is `(n0 + sum (y - m)² / v) / (n0 + n)` over joined rows. Where an axis has
    fewer than ten joined rows, its prior is that of all labels.

    Args:
        truth: (N, A), reference scale; NaN = no label.
        mean: (K, N, A), corrected, each row by what was fitted without its group; NaN = no opinion.
        variance: (K, N, A), recalibrated, likewise; unknown ones are left out.
        groups: (N,), what is never split.
        prior_rows: n0, rows' worth of belief in the assumed correlation and in a scale of 1.

    Raises:
        DataError: if an axis has no two different labels.
    """
    y, m, v = (np.asarray(each, dtype=np.float64) for each in (truth, mean, variance))
    found = estimate_error_correlation(y, m, groups=groups, prior_rows=prior_rows)
    joined = np.isfinite(y) & (np.isfinite(m).sum(axis=0) > 1)
    known = joined & np.isfinite(m) & np.isfinite(v) & (v > 0)
    square = np.where(known, y - m, 0.0) ** 2 / np.where(known, v, 1.0)
    scale = (prior_rows + square.sum(axis=1)) / (prior_rows + known.sum(axis=1))
    kept = np.where(joined.sum(axis=0) >= FEWEST_ROWS, joined, np.isfinite(y))
    labels = [column[rows] for column, rows in zip(y.T, kept.T, strict=True)]
    if any(len(np.unique(each)) < 2 for each in labels):
        raise DataError("the labels of each axis must differ; an axis has fewer than two different ones")
    mu, tau2 = np.array([each.mean() for each in labels]), np.array([each.var() for each in labels])
    return JointParameters(mu, tau2, found.errors, found.given_truth, scale, found.rows, found.assumed)


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
    return JointParameters(mu, tau2, rho, rho, np.ones((experts, len(mu))), np.zeros(pair, dtype=int), apart)
