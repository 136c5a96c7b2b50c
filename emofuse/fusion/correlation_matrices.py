"""Correlations of several experts as matrices that a rule can use: capped, and positive definite."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.errors import ConfigError

NEAR_ONE = 0.999
LEAST_EIGENVALUE = 1e-4


def bounded_correlation(correlation: ArrayLike, variance: ArrayLike) -> np.ndarray:
    """Correlations under which the better of two experts never loses to both: capped, and positive definite.

    Each is held at `sigma_small / sigma_large`. The matrix of these caps is itself a correlation, that under which
    the best expert gets all the weight; where a capped matrix of three or more experts is no longer positive
    definite, it is moved towards that one until it is.

    Args:
        correlation: a number, one per axis (A,), or matrices (..., K, K).
        variance: (K, ..., A), of the errors; NaN counts as no bound.

    Returns:
        (..., A, K, K), for `best_linear_unbiased`.
    """
    v = np.moveaxis(np.asarray(variance, dtype=np.float64), 0, -1)
    sigma = np.sqrt(np.where(np.isfinite(v) & (v > 0), v, 1.0))
    ratio = sigma[..., :, None] / sigma[..., None, :]
    most = np.minimum(ratio, 1 / ratio)
    pairs = np.isfinite(v)[..., :, None] & np.isfinite(v)[..., None, :]
    rho = with_ones(np.where(pairs, np.minimum(matrices(correlation, v.shape[-1]), most), 0.0))
    if v.shape[-1] < 3:
        return rho
    short = np.linalg.eigvalsh(rho)[..., 0] < LEAST_EIGENVALUE
    if short.any():
        rho[short] = _towards(rho[short], with_ones(np.where(pairs, NEAR_ONE * most, 0.0))[short])
    return rho


def _towards(rho: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """`(1 - t) rho + t goal` with the least t that is positive definite, relative to `goal`."""
    root = np.linalg.inv(np.linalg.cholesky(goal))
    least = np.linalg.eigvalsh(root @ rho @ np.swapaxes(root, -1, -2))[..., 0]
    t = np.clip((LEAST_EIGENVALUE - least) / (1 - least), 0, 1)[..., None, None]
    return np.asarray((1 - t) * rho + t * goal)


def matrices(correlation: ArrayLike, count: int) -> np.ndarray:
    """Correlations as matrices (..., K, K), of one number, one per axis, or as they are.

    Raises:
        ConfigError: if one is not strictly between -1 and 1.
        ValueError: if the shape does not fit.
    """
    rho = np.asarray(correlation, dtype=np.float64)
    if rho.ndim < 2:
        rho = np.broadcast_to(rho[..., None, None], (*rho.shape, count, count))
    if rho.shape[-2:] != (count, count):
        raise ValueError(f"correlation must be a number, (A,) or (..., {count}, {count}); got {rho.shape}")
    if not (np.abs(rho[..., ~np.eye(count, dtype=bool)]) < 1).all():
        raise ConfigError("each correlation must lie strictly between -1 and 1")
    return with_ones(rho)


def with_ones(rho: np.ndarray) -> np.ndarray:
    """Matrices (..., K, K) with ones on the diagonal."""
    return np.where(np.eye(rho.shape[-1], dtype=bool), 1.0, rho)
