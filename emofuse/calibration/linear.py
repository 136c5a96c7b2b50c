"""Penalised linear fits: ridge in closed form, and least absolute error by reweighting."""

from __future__ import annotations

import numpy as np


def ridge(features: np.ndarray, residual: np.ndarray, l2: float, weights: np.ndarray | None = None) -> np.ndarray:
    """The `theta` with the least `mean(w (X theta - r)^2) + l2 |theta|^2`.

    With `features` [x, 1] and the residual y - x, `s = 1 + theta[0]` and `b = theta[1]` are the affine
    correction with the least `mean((s x + b - y)^2) + l2 ((s - 1)^2 + b^2)`.

    Args:
        features: X, (n, p).
        residual: r, (n,) or (n, q).
        l2: the penalty, 0 or more.
        weights: w, (n,); by default ones.
    """
    x = features if weights is None else features * weights[:, None]
    gram = x.T @ features / len(features) + l2 * np.eye(features.shape[1])
    # lstsq, since without a penalty a constant prediction makes the system singular.
    return np.linalg.lstsq(gram, x.T @ residual / len(features), rcond=None)[0]


def least_absolute(features: np.ndarray, residual: np.ndarray, l2: float, steps: int = 200) -> np.ndarray:
    """The `theta` with the least `mean|X theta - r| + l2 |theta|^2`, by iteratively reweighted least squares.

    Args:
        features: X, (n, p).
        residual: r, (n,).
        l2: the penalty, 0 or more.
        steps: most iterations; stops when theta rests.

    Source: Schlossmacher 1973, with weights 1 / (2 max(|r|, 1e-6)).
    """
    theta = ridge(features, residual, l2)
    for _ in range(steps):
        distance = np.abs(features @ theta - residual)
        update = ridge(features, residual, l2, 0.5 / np.maximum(distance, 1e-6))
        if np.abs(update - theta).max() < 1e-9:
            return update
        theta = update
    return theta
