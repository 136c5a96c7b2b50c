"""How the errors of several experts go together: estimated cautiously, and assumed where too little is seen.

All of it is fitted on rows that no part of the experts was fitted on: out of fold, or of the valid split. Experts
stand on the first axis, means are `(K, N, A)`, the truth is `(N, A)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike

PRIOR_ROWS = 20.0
"""Rows' worth of belief in the assumed correlation."""
ASSUMED = 0.5
"""A correlation where none is known: ignorance is not independence."""
FEWEST_ROWS = 10
FEWEST_GROUPS = 5
MOST = 0.999


@dataclass(frozen=True, eq=False)
class ErrorCorrelation:
    """How the errors of K experts go together, per axis; each (A, K, K) and symmetric.

    Attributes:
        errors: correlation of the errors `y - m`, for best linear unbiased weights.
        given_truth: correlation of the means where the truth is held, for the joint Gaussian.
        rows: rows with a label and both means.
        assumed: bool, whether there were too few of them, so that both correlations are the assumed one.
    """

    errors: np.ndarray
    given_truth: np.ndarray
    rows: np.ndarray
    assumed: np.ndarray


def estimate_error_correlation(
    truth: ArrayLike,
    mean: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    prior_rows: float = PRIOR_ROWS,
    assumed: float = ASSUMED,
) -> ErrorCorrelation:
    """Correlations of the experts' errors, drawn to the assumed one and capped.

    For each pair, Pearson's correlation r of the residuals becomes `(n r + n0 assumed) / (n + n0)`. That of the
    errors is then held at `sigma_small / sigma_large` (root mean square errors), beyond which a weight would be
    negative. Given the truth the residuals are those of a line of each mean on the truth, and nothing is assumed
    of the slope. Errors of pictures of one group are alike, so that of fewer than five groups nothing is learnt.

    Args:
        truth: (N, A), reference scale; NaN = no label.
        mean: (K, N, A), corrected, each row by what was fitted without its group; NaN = no opinion.
        groups: (N,), what is never split; by default every row is its own.
        prior_rows: n0, rows' worth of belief in `assumed`.
        assumed: strictly between -1 and 1.

    Returns:
        Positive semi-definite matrices; a pair of fewer than ten rows or five groups is marked `assumed`.
    """
    y, m = np.asarray(truth, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    if m.ndim != 3 or m.shape[1:] != y.shape:
        raise ValueError(f"expected means (K, N, A) of truth {y.shape}; got {m.shape}")
    label = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    count, axes = len(m), y.shape[1]
    errors, given = np.tile(np.eye(count), (2, axes, 1, 1))
    rows, blind = np.zeros((axes, count, count), dtype=int), np.zeros((axes, count, count), dtype=bool)
    for a, (k, other) in product(range(axes), combinations(range(count), 2)):
        both = np.isfinite(y[:, a]) & np.isfinite(m[[k, other], :, a]).all(axis=0)
        found = _pair(y[both, a], m[[k, other]][:, both, a], label[both], prior_rows, assumed)
        for table, value in zip((errors, given, rows, blind), found, strict=True):
            table[a, k, other] = table[a, other, k] = value
    return ErrorCorrelation(_semi_definite(errors), _semi_definite(given), rows, blind)


def _pair(
    y: np.ndarray, m: np.ndarray, groups: np.ndarray, prior_rows: float, assumed: float
) -> tuple[float, float, int, bool]:
    """Both correlations of a pair on its complete rows, how many, and whether they are assumed."""
    n = len(y)
    if n < FEWEST_ROWS or len(np.unique(groups)) < FEWEST_GROUPS:
        return assumed, assumed, n, True
    error, away = y - m, y - y.mean()
    centred = m - m.mean(axis=1, keepdims=True)
    slope = centred @ away / max(float(away @ away), np.finfo(float).tiny)
    size = np.sqrt((error**2).mean(axis=1))
    cap = size.min() / max(float(size.max()), np.finfo(float).tiny)
    pairs = (error, centred - slope[:, None] * away)
    drawn = [(n * _pearson(pair) + prior_rows * assumed) / (n + prior_rows) for pair in pairs]
    return float(np.clip(min(drawn[0], cap), -MOST, MOST)), float(np.clip(drawn[1], -MOST, MOST)), n, False


def _pearson(pair: np.ndarray) -> float:
    centred = pair - pair.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    return float(centred[0] @ centred[1] / (size[0] * size[1])) if (size > 0).all() else 0.0


def _semi_definite(rho: np.ndarray) -> np.ndarray:
    """Correlation matrices with negative eigenvalues set to 0 and the diagonal put back to 1."""
    values, vectors = np.linalg.eigh(rho)
    if (values >= 0).all():
        return rho
    full = (vectors * np.maximum(values, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    size = np.sqrt(np.diagonal(full, axis1=-2, axis2=-1))
    fixed = full / (size[..., :, None] * size[..., None, :])
    return np.where(np.eye(rho.shape[-1], dtype=bool), 1.0, np.clip(fixed, -MOST, MOST))
