"""The linear head in closed form: ridge regression is what dropout training of a linear layer converges to.

Dropping each standardised input with probability p and scaling the rest by 1/(1-p) adds p/(1-p) * sum x^2 w^2 to the
expected squared error, so its minimiser is ridge with the penalty n p/(1-p) on standardised features.
Source: Srivastava et al. (2014), section 9.1.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.model_selection import GroupKFold

from emofuse.errors import DataError
from emofuse.experts.head import Head, HeadSpec

DROPOUTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
"""The dropout probabilities that a search in closed form tries."""


def penalty(dropout: float, count: int) -> float:
    """The ridge penalty on standardised features to which this dropout amounts, for `count` training rows."""
    return count * dropout / (1 - dropout)


def ridge_path(features: np.ndarray, targets: np.ndarray, penalties: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Ridge weights (P, D, 2) and the intercept (2,) for each penalty, from one eigendecomposition.

    Args:
        features: standardised training features (N, D).
        targets: (N, 2).
        penalties: P positive numbers.
    """
    intercept, (count, width) = targets.mean(0), features.shape
    if count > width:
        values, vectors = np.linalg.eigh(features.T @ features)
        projected = vectors.T @ (features.T @ (targets - intercept))
        return np.stack([vectors @ (projected / (values + each)[:, None]) for each in penalties]), intercept
    values, vectors = np.linalg.eigh(features @ features.T)
    projected = vectors.T @ (targets - intercept)
    shrunk = [projected / (np.maximum(values, 0) + each)[:, None] for each in penalties]
    return np.stack([features.T @ (vectors @ each) for each in shrunk]), intercept


def fit_linear(features: np.ndarray, targets: np.ndarray, dropout: float) -> Head:
    """The linear head that dropout training converges to.

    Args:
        features: raw training features (N, D).
        targets: (N, 2), reference scale.
        dropout: in [0, 1); 0 is ordinary least squares of least norm.
    """
    head = Head(HeadSpec(inputs=features.shape[1], kind="linear", dropout=dropout))
    head.standardise.fit(torch.from_numpy(np.asarray(features, dtype=np.float32)))
    with torch.no_grad():
        standardised = head.standardise(torch.from_numpy(np.asarray(features, dtype=np.float32))).double().numpy()
        weights, intercept = ridge_path(standardised, targets, [max(penalty(dropout, len(features)), 1e-8)])
        head.layers[-1].weight.copy_(torch.from_numpy(weights[0].T))  # type: ignore[operator, union-attr]
        head.layers[-1].bias.copy_(torch.from_numpy(intercept))  # type: ignore[operator, union-attr]
    return head.eval()


def choose_dropout(
    features: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, folds: int = 5, seed: int = 1
) -> float:
    """The dropout of `DROPOUTS` with the least error in grouped cross-validation within these rows.

    The error is the sum over axes of the squared error in units of that axis's variance.
    """
    errors = np.zeros(len(DROPOUTS))
    for train, held in group_folds(groups, folds, seed):
        centre, spread = features[train].mean(0), features[train].std(0)
        scaled = (features - centre) * np.where(spread > 1e-8, 1 / np.maximum(spread, 1e-8), 0)
        weights, intercept = ridge_path(scaled[train], targets[train], [penalty(p, len(train)) for p in DROPOUTS])
        residuals = scaled[held] @ weights + intercept - targets[held]
        errors += ((residuals**2) / targets.var(0)).sum((1, 2))
    return DROPOUTS[int(errors.argmin())]


def group_folds(groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Index pairs (train, held out) of a shuffled grouped cross-validation; no group straddles a pair.

    Raises:
        DataError: if there are fewer groups than folds.
    """
    count = len(np.unique(groups))
    if count < folds:
        raise DataError(f"{folds} folds need at least as many groups; there are {count}")
    return list(GroupKFold(folds, shuffle=True, random_state=seed).split(groups, groups=groups))
