"""Out-of-fold figures of a way to train heads: what it reaches on groups it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from emofuse.affect import AXES
from emofuse.calibration import AffineVariance
from emofuse.config import TrainingConfig
from emofuse.experts.head import Head
from emofuse.experts.head_expert import head_moments
from emofuse.metrics import accuracy
from emofuse.training.features import FeatureSet
from emofuse.training.ridge import group_folds
from emofuse.training.trainer import PhaseTrainer

Fit = Callable[[FeatureSet], Head]
"""A way to train: rows in, a head out, everything else chosen within those rows."""

FOLDS = 5
OUTER_SEED = 0


@dataclass(frozen=True, eq=False)
class Estimates:
    """Predictions beside the truth.

    Attributes:
        truth: (N, 2), reference scale.
        mean: (N, 2), clamped to the scale.
        variance: (N, 2), the heads' own; NaN where they give none.
    """

    truth: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    @property
    def pooled_error(self) -> list[float]:
        """Mean squared error per axis."""
        return [float(value) for value in ((self.truth - self.mean) ** 2).mean(0)]

    @property
    def mean_squared_z(self) -> list[float]:
        """Mean squared z per axis of the heads' own variances: 1 if they were right; NaN where there are none."""
        return [float(value) for value in ((self.truth - self.mean) ** 2 / self.variance).mean(0)]

    @property
    def variance_line(self) -> tuple[list[float], list[float]]:
        """Scale a and floor b per axis: `a v + b` is the variance of least NLL; (1, 0) where no variance is known.

        A floor is needed because dropout sees the head's doubt alone, and neither noise nor another domain.
        """
        if not np.isfinite(self.variance).all():
            return [1.0] * len(AXES), [0.0] * len(AXES)
        fitted = AffineVariance().fit(self.truth, self.mean, self.variance).parameters
        return [float(value) for value in fitted[:, 0]], [float(value) for value in fitted[:, 1]]

    def figures(self) -> dict[str, dict[str, float]]:
        """Pearson r, CCC and MAE per axis."""
        named = {"pearson": accuracy.pearson, "ccc": accuracy.concordance, "mae": accuracy.mae}
        values = {name: np.asarray(metric(self.truth, self.mean)) for name, metric in named.items()}
        return {axis: {name: float(value[i]) for name, value in values.items()} for i, axis in enumerate(AXES)}


def out_of_fold(rows: FeatureSet, fit: Fit, *, passes: int = 20, seed: int = 0) -> Estimates:
    """Train on each fold's rest and predict the fold, as the expert would; pooled over the folds.

    Args:
        rows: labelled rows with groups.
        fit: trains a head on the rows it is given.
        passes: MC-dropout passes, for heads without a closed form.
        seed: of the dropout masks.
    """
    mean, variance = np.empty((len(rows), 2)), np.empty((len(rows), 2))
    for train, held in group_folds(rows.group, FOLDS, OUTER_SEED):
        head = fit(rows.rows(train))
        mean[held], variance[held] = predict(head, rows.features[held], passes=passes, seed=seed)
    return Estimates(rows.labels, mean, variance)


def predict(head: Head, features: np.ndarray, *, passes: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clamped means and raw variances, each float64 (N, 2), of stored features (N, D)."""
    with torch.inference_mode():
        moments = head_moments(head.eval(), torch.from_numpy(features), head.masks(passes, seed))
    variance = moments.variance.double().numpy()
    return np.clip(moments.mean.double().numpy(), -1, 1), np.where(variance > 0, variance, np.nan)


def fitting(config: TrainingConfig, *, seed: int = 0) -> Fit:
    """The way to train that a config names, frozen, with all it leaves open chosen within the rows it is given.

    Where there are epochs to stop early, a fifth of the groups is held back to decide when.
    """
    plain = replace(config, unfrozen_epochs=0)

    def fit(rows: FeatureSet) -> Head:
        everything = np.arange(len(rows))
        train, held = group_folds(rows.group, FOLDS, seed)[0] if plain.epochs else (everything, everything[:0])
        return PhaseTrainer(rows.rows(train), rows.rows(held), plain, seed=seed).train_phase_0().head

    return fit
