"""Rules for joining experts beside inverse variance, and what of them is fitted on valid."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import VARIANCE_FLOOR
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.correlation_matrices import bounded_correlation, matrices
from emofuse.fusion.inputs import ExpertPredictions, Fused, per_expert


def best_linear_unbiased(
    mean: ArrayLike,
    variance: ArrayLike,
    correlation: ArrayLike = 0.0,
    *,
    cap: bool = False,
    floor: float = VARIANCE_FLOOR,
    pooled: ArrayLike | None = None,
) -> Fused:
    """Weights for errors that are correlated: `w = C^-1 1 / (1' C^-1 1)`.

    Args:
        mean: (K, ...), as for `inverse_variance`.
        variance: (K, ...), likewise.
        correlation: of the experts' errors; one number or one per axis (A,) for every pair, or
            matrices (..., K, K).
        cap: as `bounded_correlation`, so that of two experts neither gets a negative weight and the result
            stays between their means.
        floor: least variance.
        pooled: (K,) or (K, A), for unknown variances.

    Raises:
        ConfigError: if a correlation is not strictly between -1 and 1.

    Source: Lyons, Gibaut & Clifford 1988.
    """
    experts = ExpertPredictions.of(mean, variance, floor, pooled)
    count = len(experts.mean)
    sigma, used = np.moveaxis(np.sqrt(experts.variance), 0, -1), np.moveaxis(experts.used, 0, -1)
    bound = np.where(experts.used, experts.variance, np.nan)
    rho = bounded_correlation(correlation, bound) if cap else matrices(correlation, count)
    # An expert left out is made uncorrelated, so that the others' block stands by itself.
    rho = np.where(used[..., :, None] & used[..., None, :], rho, 0.0)
    rho[..., range(count), range(count)] = 1.0
    covariance = rho * sigma[..., :, None] * sigma[..., None, :]
    precision = np.linalg.solve(covariance, np.ones((*sigma.shape, 1)))[..., 0]
    precision = np.moveaxis(np.where(used, precision, 0.0), -1, 0)
    total = precision.sum(axis=0)
    total = np.where(total == 0, 1.0, total)
    valid = experts.present.any(axis=0)
    return experts.linear(np.where(valid, precision / total, np.nan), 1 / total)


def random_effects(
    mean: ArrayLike, variance: ArrayLike, *, floor: float = VARIANCE_FLOOR, pooled: ArrayLike | None = None
) -> Fused:
    """Inverse variance, widened and evened out where the experts disagree more than their variances allow.

    With `w = 1/v`, `Q = sum(w (m - m_fixed)^2)`, `tau2 = max(0, (Q - (k - 1)) / (sum(w) - sum(w^2) / sum(w)))`,
    the weights are `1 / (v + tau2)`; for two experts `tau2 = max(0, ((m1 - m2)^2 - v1 - v2) / 2)`.

    Args:
        mean: (K, ...), as for `inverse_variance`.
        variance: (K, ...), likewise.
        floor: least variance.
        pooled: (K,) or (K, A), for unknown variances.

    Returns:
        The fusion, with `q` and `tau2`; both are 0 for a lone expert and NaN where not valid.

    Source: DerSimonian & Laird 1986.
    """
    experts = ExpertPredictions.of(mean, variance, floor, pooled)
    w = np.where(experts.used, 1 / experts.variance, 0.0)
    total = np.where(w.any(axis=0), w.sum(axis=0), 1.0)
    fixed = (w * experts.mean).sum(axis=0) / total
    q = (w * (experts.mean - fixed) ** 2).sum(axis=0)
    count = experts.used.sum(axis=0)
    spare = np.where(count > 1, total - (w**2).sum(axis=0) / total, 1.0)
    tau2 = np.where(count > 1, np.maximum(0.0, (q - (count - 1)) / spare), 0.0)
    # Where no variance is known the weights are equal, and there is no yardstick for disagreement.
    measured = experts.known.any(axis=0)
    return experts.join(
        np.where(experts.used, 1 / (experts.variance + tau2), 0.0),
        experts.variance + tau2,
        q=np.where(measured, q, np.nan),
        tau2=np.where(measured, tau2, np.nan),
    )


def fixed_weights(
    mean: ArrayLike,
    variance: ArrayLike,
    weights: ArrayLike = (0.6, 0.4),
    *,
    floor: float = VARIANCE_FLOOR,
    pooled: ArrayLike | None = None,
) -> Fused:
    """The same weights everywhere, shared out anew where an expert is missing; a baseline.

    Args:
        mean: (K, ...), as for `inverse_variance`.
        variance: (K, ...), likewise; it sets the result's variance `sum(w^2 v)`, not the weights.
        weights: (K,) or (K, A), not negative, of sum 1 (scaled to it if not).
        floor: least variance.
        pooled: (K,) or (K, A), for unknown variances.

    Raises:
        ConfigError: if a weight is negative or NaN, or all are 0.
    """
    experts = ExpertPredictions.of(mean, variance, floor, pooled)
    share = per_expert("weights", weights, experts.mean.shape)
    if not (share >= 0).all() or not share.any(axis=0).all():
        raise ConfigError(f"fixed weights must be 0 or more, and not all 0; got {weights!r}")
    share = np.where(experts.present, share, 0.0)
    # An expert of weight 0 still speaks where it is the only one.
    share = np.where(share.any(axis=0), share, experts.present)
    return experts.join(share, experts.variance)


def equal_weights(
    mean: ArrayLike, variance: ArrayLike, *, floor: float = VARIANCE_FLOOR, pooled: ArrayLike | None = None
) -> Fused:
    """The plain mean of the experts that are there: the baseline that estimated weights often lose to."""
    return fixed_weights(mean, variance, np.ones(len(np.asarray(mean))), floor=floor, pooled=pooled)


def fit_constant_weight(truth: ArrayLike, mean: ArrayLike) -> np.ndarray:
    """The constant weights of two experts with the least squared error; to be fitted on valid.

    `w = sum((y - m2) (m1 - m2)) / sum((m1 - m2)^2)`, held within [0, 1]; the second gets `1 - w`.

    Args:
        truth: (N,) or (N, A), reference scale.
        mean: (2, N) or (2, N, A); rows that lack the truth or an expert are left out.

    Returns:
        Weights (2,) or (2, A) for `fixed_weights`.

    Raises:
        DataError: if fewer than two rows are complete.
    """
    y, m, complete = complete_rows(truth, mean)
    gap = np.where(complete, m[0] - m[1], 0.0)
    square = (gap**2).sum(axis=0)
    along = (gap * np.where(complete, y - m[1], 0.0)).sum(axis=0)
    first = np.where(square > 0, np.clip(along / np.where(square > 0, square, 1.0), 0, 1), 0.5)
    return np.stack([first, 1 - first])


def complete_rows(truth: ArrayLike, mean: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, means of two experts, and which elements (the shape of `truth`) have all three.

    Raises:
        ValueError: if the shapes do not fit.
        DataError: if an axis has fewer than two such rows.
    """
    y, m = np.asarray(truth, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    if m.shape != (2, *y.shape):
        raise ValueError(f"expected means of two experts, (2, {', '.join(map(str, y.shape))}); got {m.shape}")
    complete = np.isfinite(y) & np.isfinite(m).all(axis=0)
    if (complete.sum(axis=0) < 2).any():
        raise DataError("weights of two experts need at least two rows with a label and both predictions")
    return y, m, complete


def inverse_variance(
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    floor: float = VARIANCE_FLOOR,
    pooled: ArrayLike | None = None,
    max_weight_ratio: float | None = None,
) -> Fused:
    """Weights in proportion to 1/variance: the best unbiased estimate if errors are independent.

    `w_i = (1/v_i) / sum(1/v_j)`, `m = sum(w_i m_i)`, `v = sum(w_i^2 v_i)`, which is `1 / sum(1/v_i)`
    and at most the least variance, unless the ratio is capped.

    Args:
        mean: (K, ...), reference scale; NaN = no prediction.
        variance: (K, ...), true *error* variances, so recalibrate first; NaN, 0, negative, infinite = unknown.
        floor: variances below count as this; not added to all, which would bias every result.
        pooled: (K,) or (K, A), each expert's mean squared error on valid, for unknown variances.
        max_weight_ratio: cap on the ratio of any precision to the least one.

    Raises:
        ConfigError: if `floor` is not above 0 or `max_weight_ratio` is below 1.
        ValueError: if the shapes do not fit.

    >>> round(float(inverse_variance([.2, .4], [.04, .01]).mean), 6)
    0.36

    Source: the fixed-effect estimate of meta-analysis; Cochran 1954.
    """
    experts = ExpertPredictions.of(mean, variance, floor, pooled)
    precision = np.where(experts.used, 1 / experts.variance, 0.0)
    return experts.join(_capped(precision, max_weight_ratio), experts.variance)


def _capped(precision: np.ndarray, ratio: float | None) -> np.ndarray:
    if ratio is None:
        return precision
    if not ratio >= 1:
        raise ConfigError(f"max_weight_ratio must be at least 1; got {ratio}")
    least = np.where(precision > 0, precision, np.inf).min(axis=0)
    return np.minimum(precision, ratio * least)
