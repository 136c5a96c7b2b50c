"""What every layer loses on rows that it was not fitted on, for each expert and axis by itself.

An expert's error on an axis needs no fusion to be seen, so kinds and penalties of one are tried without the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emofuse.affect import AXES
from emofuse.calibration import fit_mean
from emofuse.calibration.fitting import fit_expert
from emofuse.config import CalibrationConfig, VarianceKind
from emofuse.errors import DataError
from emofuse.metrics.uncertainty import crps_rows, nll_rows
from emofuse.tables.schema import EXPERTS
from emofuse.tuning.calibration.losses import BUNDLES, CrossValidationData, Layers


def mean_losses(
    sweep_data: CrossValidationData, *, fold: int, candidates: Sequence[CalibrationConfig], objective: str
) -> np.ndarray:
    """What mean calibrations, fitted without the fold, lose on its rows: absolute or squared errors, summed.

    Args:
        sweep_data: the rows.
        fold: the one held out.
        candidates: each of one kind for both axes.
        objective: "mae" counts absolute errors, everything else squared ones.

    Returns:
        (candidates, 2 experts x 2 axes, BUNDLES); NaN for what cannot be fitted.
    """
    sums = np.full((len(candidates), len(EXPERTS), len(AXES), BUNDLES), np.nan)
    for i, heard in enumerate(sweep_data.heard):
        kept, held = heard & (sweep_data.fold != fold), np.flatnonzero(heard & (sweep_data.fold == fold))
        place = np.eye(BUNDLES)[sweep_data.bundle[held]]
        for k, config in enumerate(candidates):
            for axes in _fitted_together(config):
                moved = _moved_means(
                    config, axes, sweep_data.truth[kept], sweep_data.mean[i, kept], sweep_data.mean[i, held]
                )
                error = np.abs(np.clip(moved, -1, 1) - sweep_data.truth[held])
                sums[k, i, axes] = ((error if objective == "mae" else error**2).T @ place)[axes]
    return sums.reshape(len(candidates), -1, BUNDLES)


def _fitted_together(config: CalibrationConfig) -> list[list[int]]:
    """Axes that one fit serves; of ordinal ones each stands alone, since the labels of the other may not serve."""
    return [[0], [1]] if config.mean == "ordinal" else [[0, 1]]


def _moved_means(
    config: CalibrationConfig, axes: list[int], truth: np.ndarray, mean: np.ndarray, held: np.ndarray
) -> np.ndarray:
    kind, loss, l2 = config.mean_of(0)
    axis = axes[0] if len(axes) == 1 else None
    try:
        return np.asarray(fit_mean(kind, truth, mean, l2=l2, loss=loss, axis=axis).apply(held))
    except DataError:
        # One kind of layer may ask for more than these rows have; the others go on.
        return np.full_like(held, np.nan)


def variance_losses(
    sweep_data: CrossValidationData, *, fold: int, layers: Layers, kinds: Sequence[VarianceKind], objective: str
) -> np.ndarray:
    """What variance recalibrations behind the layers' means, fitted without the fold, lose on its rows, summed.

    Args:
        sweep_data: the rows.
        fold: the one held out.
        layers: by expert, whose means are kept.
        kinds: recalibrations, each for all.
        objective: "nll"; everything else is CRPS.

    Returns:
        (kinds, 2 experts x 2 axes, BUNDLES); NaN for what cannot be fitted.
    """
    sums = np.full((len(kinds), len(EXPERTS), len(AXES), BUNDLES), np.nan)
    loss = nll_rows if objective == "nll" else crps_rows
    for i, (name, heard) in enumerate(zip(EXPERTS, sweep_data.heard, strict=True)):
        kept, held = heard & (sweep_data.fold != fold), np.flatnonzero(heard & (sweep_data.fold == fold))
        if not kept.any():
            continue
        for k, kind in enumerate(kinds):
            try:
                expert, _ = fit_expert(
                    sweep_data.truth[kept], sweep_data.mean[i, kept], sweep_data.variance[i, kept],
                    replace(layers[name], variance=kind), sweep_data.groups[kept],
                )  # fmt: skip
            except DataError:
                continue
            mean, variance, _ = expert.apply(sweep_data.mean[i, held], sweep_data.variance[i, held])
            lost = loss(sweep_data.truth[held], np.clip(mean, -1, 1), np.where(variance > 0, variance, np.nan))
            sums[k, i] = lost.T @ np.eye(BUNDLES)[sweep_data.bundle[held]]
    return sums.reshape(len(kinds), -1, BUNDLES)
