"""Out-of-fold figures of a way to train heads: what it reaches on groups it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emofuse.affect import AXES
from emofuse.metrics import accuracy
from emofuse.scene.expert import head_moments
from emofuse.scene.features import FeatureSet
from emofuse.scene.head import Head
from emofuse.scene.ridge import choose_dropout, fit_linear, group_folds

Fit = Callable[[FeatureSet], Head]
"""A way to train: rows in, a head out, everything else chosen within those rows."""

FOLDS = 5
OUTER_SEED = 0


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Pooled predictions of grouped cross-validation, each row by a head that has not seen its group.

    Attributes:
        truth: (N, 2), reference scale.
        mean: (N, 2).
        variance: (N, 2), the heads' own; NaN where they give none.
        dropouts: the dropout of each fold's head.
    """

    truth: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    dropouts: list[float]

    @property
    def pooled_error(self) -> list[float]:
        """Mean squared error per axis."""
        return [float(value) for value in ((self.truth - self.mean) ** 2).mean(0)]

    @property
    def variance_scale(self) -> list[float]:
        """Mean squared z per axis: the factor that makes the variances right on average; NaN-free, 1 if unknown."""
        z2 = (self.truth - self.mean) ** 2 / self.variance
        return [float(value) if np.isfinite(value) else 1.0 for value in z2.mean(0)]

    def figures(self) -> dict[str, dict[str, float]]:
        """Pearson r, CCC and MAE per axis."""
        named = {"pearson": accuracy.pearson, "ccc": accuracy.concordance, "mae": accuracy.mae}
        values = {name: np.asarray(metric(self.truth, self.mean)) for name, metric in named.items()}
        return {axis: {name: float(value[i]) for name, value in values.items()} for i, axis in enumerate(AXES)}

    def for_card(self, rows: FeatureSet) -> dict[str, Any]:
        """What a card tells about these predictions."""
        return {
            "protocol": f"GroupKFold({FOLDS}, shuffle=True, random_state={OUTER_SEED}) on group, predictions pooled, "
            "everything chosen inside the folds",
            "rows": len(rows),
            "groups": len(set(rows.group)),
            "figures": self.figures(),
        }


def out_of_fold(rows: FeatureSet, fit: Fit, *, passes: int = 20, seed: int = 0) -> OutOfFold:
    """Train on each fold's rest and predict the fold, as the expert would: means clamped, raw variances.

    Args:
        rows: labelled rows with groups.
        fit: trains a head on the rows it is given.
        passes: MC-dropout passes, for heads without a closed form.
        seed: of the dropout masks.
    """
    mean, variance = np.empty((len(rows), 2)), np.empty((len(rows), 2))
    dropouts = []
    for train, held in group_folds(rows.group, FOLDS, OUTER_SEED):
        head = fit(rows.rows(train))
        mean[held], variance[held] = predict(head, rows.features[held], passes=passes, seed=seed)
        dropouts.append(head.spec.dropout)
    return OutOfFold(rows.labels, mean, variance, dropouts)


def predict(head: Head, features: np.ndarray, *, passes: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clamped means and raw variances, each float64 (N, 2), of stored features (N, D)."""
    with torch.inference_mode():
        moments = head_moments(head.eval(), torch.from_numpy(features), head.masks(passes, seed))
    variance = moments.variance.double().numpy()
    return np.clip(moments.mean.double().numpy(), -1, 1), np.where(variance > 0, variance, np.nan)


def fit_in_closed_form(rows: FeatureSet) -> Head:
    """The linear head at the dropout that grouped cross-validation within the rows prefers."""
    dropout = choose_dropout(rows.features.astype(np.float64), rows.labels, rows.group)
    return fit_linear(rows.features, rows.labels, dropout)
