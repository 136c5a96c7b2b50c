"""Joining experts that know how they were fitted: correlated errors, and the prior counted once.

The truth y of a row is Gaussian with the labels' mean μ and variance τ². An expert that was fitted for squared
error gives posterior means m_k: `E[y | m_k] = m_k`, with posterior variance `v_k = E[(y - m_k)²] < τ²`. So it is
drawn to μ, `var(m_k) = cov(y, m_k) = τ² - v_k`, and with the gain `b_k = 1 - v_k / τ²` it is the same as a
measurement without a prior:

    x_k = μ + (m_k - μ) / b_k = y + n_k,    var(n_k) = r_k = v_k / b_k,    1 / r_k = 1 / v_k - 1 / τ²

Joined are the measurements, by best linear unbiased weights for their correlated noise, and then the prior, once.
That is the posterior of y in the joint Gaussian of (y, m_1 .. m_K).

**Two correlations.** What is seen on labelled rows is the correlation of the errors, ρ = corr(y - m_k, y - m_l).
The rule takes the correlation given the truth, κ = corr(n_k, n_l) = corr(m_k, m_l | y), since two shrunk experts
err alike even where they share no noise, both lacking the same part of the truth:

    ρ_kl = sqrt(v_k v_l) / τ² + κ_kl sqrt(b_k b_l)

With a flat prior (τ² = ∞) they are the same. κ is the one that may stay fixed while variances differ from row to
row: any positive definite matrix κ makes the covariance of (y, m_1 .. m_K) positive definite whatever the v_k < τ²,
which a fixed ρ does not. κ = 0 is independence given the truth; `κ_kl = sqrt(r_k / r_l)`, the same as
`ρ_kl = sqrt(v_k / v_l)`, is where the worse expert l adds nothing, and beyond it its weight would be negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import VARIANCE_FLOOR
from emofuse.errors import ConfigError
from emofuse.fusion.correlation_matrices import bounded_correlation, matrices, with_ones
from emofuse.fusion.inputs import ExpertPredictions, Fused
from emofuse.fusion.rules import best_linear_unbiased

LEAST_GAIN = 1e-6
"""An expert whose posterior variance leaves less than this of the prior variance explained adds nothing."""


def joint_gaussian(
    mean: ArrayLike,
    variance: ArrayLike,
    prior_mean: ArrayLike,
    prior_variance: ArrayLike,
    correlation: ArrayLike = 0.0,
    *,
    cap: bool = True,
    floor: float = VARIANCE_FLOOR,
    pooled: ArrayLike | None = None,
) -> Fused:
    """The posterior of the truth, of K experts that were each fitted for squared error.

    With `precision = 1/τ² + 1' N^-1 1`, N the covariance of the n_k: `m = μ + 1' N^-1 (x - μ) / precision`, and
    the variance is `1 / precision`. Special cases: κ = 0 and K = 2, `1/v = 1/v1 + 1/v2 - 1/τ²`; τ² = ∞, best
    linear unbiased. An expert that adds nothing (`v_k >= τ²`) is left out as long as another remains, and a lone
    one passes through unchanged; if all add nothing, the one of least variance stands for them.

    Args:
        mean: (K, ..., A), as for `inverse_variance`; posterior means, so with corrected means.
        variance: (K, ..., A), posterior variances; the table of `emofuse.fusion.inputs` holds for unknown ones.
        prior_mean: μ, a number or (A,): the labels' mean among rows as these.
        prior_variance: τ², likewise, above 0; infinite for a flat prior.
        correlation: κ, given the truth: a number or one per axis (A,) for every pair, or matrices (..., K, K).
        cap: as `bounded_correlation`, so that of two experts neither gets a negative weight.
        floor: least variance.
        pooled: (K,) or (K, A), for unknown variances.

    Returns:
        The fusion. The deviations `m_k - μ` have weights w_k whose sum is free, since two timid experts that agree
        may be followed further out; `weights` holds their shares w / sum(w).

    Raises:
        ConfigError: if a prior variance is not above 0 or a correlation not strictly between -1 and 1.

    >>> float(joint_gaussian([.2, .2], [.5, .5], 0., 1.).variance)
    0.3333333333333333

    Source: Winkler 1981 (dependent Gaussian experts); Tresp 2000, A Bayesian committee machine (κ = 0: the prior
    counted once).
    """
    experts = ExpertPredictions.of(mean, variance, floor, pooled)
    mu, tau2 = np.asarray(prior_mean, dtype=np.float64), np.asarray(prior_variance, dtype=np.float64)
    if not (tau2 > 0).all():
        raise ConfigError(f"the prior variance must be above 0; got {tau2.tolist()}")
    gain = 1 - experts.variance / tau2
    taken = _informed(experts, gain)
    scale = np.where(taken & (gain > LEAST_GAIN), gain, 1.0)
    unshrunk = np.where(taken, mu + (experts.mean - mu) / scale, np.nan)
    noise = np.where(taken & experts.known, experts.variance / scale, np.nan)
    kappa = bounded_correlation(correlation, noise) if cap else matrices(correlation, len(noise))
    joined = best_linear_unbiased(unshrunk, noise, kappa, floor=floor)
    lone = taken.sum(axis=0) == 1
    plain = lone | ~experts.known.any(axis=0)
    precision = 1 / joined.variance + 1 / tau2
    drawn = mu + (joined.mean - mu) / (joined.variance * precision)
    leverage = np.where(taken, joined.weights / scale, 0.0)
    total = leverage.sum(axis=0)
    share = np.where(joined.valid, leverage / np.where(total == 0, 1.0, total), np.nan)
    own = np.where(taken, experts.mean, 0.0).sum(axis=0)
    raw = np.where(taken, experts.raw_variance, 0.0).sum(axis=0)
    return Fused(
        np.where(lone, own, np.where(plain, joined.mean, drawn)),
        np.where(lone, raw, np.where(plain, np.nan, 1 / precision)),
        share,
        joined.valid,
        experts.source,
    )


def _informed(experts: ExpertPredictions, gain: np.ndarray) -> np.ndarray:
    """Experts the rule listens to, bool (K, ...): those better than the prior, else the one of least variance."""
    better = experts.known & (gain > LEAST_GAIN)
    size = np.where(experts.known, experts.variance, np.inf)
    first = np.arange(len(size)).reshape(-1, *(1,) * (size.ndim - 1)) == size.argmin(axis=0)
    some = experts.known.any(axis=0)
    return np.where(better.any(axis=0), better, np.where(some, experts.known & first, experts.present))


def given_truth(correlation: ArrayLike, variance: ArrayLike, prior_variance: ArrayLike) -> np.ndarray:
    """κ of ρ: the correlation of outputs given the truth that belongs to a correlation of errors.

    Args:
        correlation: ρ (..., K, K).
        variance: v (..., K), posterior variances, below the prior's.
        prior_variance: τ² (...).

    Returns:
        κ (..., K, K), ones on the diagonal. Beyond ±1 no joint Gaussian has these ρ and v.
    """
    joint, single = _links(variance, prior_variance)
    return with_ones((np.asarray(correlation, dtype=np.float64) - single) / joint)


def of_errors(correlation: ArrayLike, variance: ArrayLike, prior_variance: ArrayLike) -> np.ndarray:
    """ρ of κ, the inverse of `given_truth`."""
    joint, single = _links(variance, prior_variance)
    return with_ones(single + np.asarray(correlation, dtype=np.float64) * joint)


def _links(variance: ArrayLike, prior_variance: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`sqrt(b_k b_l)` and `sqrt(v_k v_l) / τ²`, each (..., K, K)."""
    part = np.asarray(variance, dtype=np.float64) / np.asarray(prior_variance, dtype=np.float64)[..., None]
    if not ((part >= 0) & (part < 1)).all():
        raise ConfigError("posterior variances must lie between 0 and the prior variance")
    gain = 1 - part
    return np.sqrt(gain[..., :, None] * gain[..., None, :]), np.sqrt(part[..., :, None] * part[..., None, :])
