"""Fitting a whole calibration on the valid split, in its order: means, then variances, then what joins them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold

from emofuse.calibration.bundle import Calibration, ExpertCalibration, FittedOn, hashed
from emofuse.calibration.conformal import ConformalIntervals
from emofuse.calibration.means import fit_mean
from emofuse.calibration.rows import group_ids, paired
from emofuse.calibration.variance import VARIANCE_LAYERS, VarianceLayer, pooled_variance
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.rules import estimate_correlation, fit_constant_weight
from emofuse.fusion.stacking import MIN_ROWS, Stack, fit_stack
from emofuse.tables.hashes import pack_hashes

FOLDS = 5


def fit_calibration(
    truth: ArrayLike,
    experts: Mapping[str, tuple[ArrayLike, ArrayLike]],
    config: CalibrationConfig | None = None,
    fusion: FusionConfig | None = None,
    *,
    split: str,
    fingerprint: str,
    groups: ArrayLike | None = None,
    cards: Mapping[str, dict[str, Any]] | None = None,
    ids: Iterable[str] = (),
) -> Calibration:
    """A calibration of all experts, fitted on valid.

    The mean layers are fitted on all rows. What measures errors (variances, pooled variances, correlation,
    weights, conformal intervals) is fitted on means that were calibrated without the row's own group, in five
    grouped folds, so that it does not flatter itself by the fit of the means.

    Args:
        truth: (N, 2), reference scale; rows without a label are left out.
        experts: by name, (mean, variance), each (N, 2); scene before face. One without any prediction is left out.
        config: which layers.
        fusion: the method and gates to store with it.
        split: where the rows are from; only "valid" is taken.
        fingerprint: of the predictions.
        groups: (N,), what must not be split; by default every row is its own.
        cards: what each expert was, by name.
        ids: of the rows, so that they are known as in-sample wherever they stand again.

    Raises:
        ConfigError: if `split` is not "valid".
        DataError: if the rows do not serve.
    """
    if split != "valid":
        raise ConfigError(f"a calibration is fitted on the valid split alone; these rows are of {split!r}")
    config, fusion = config or CalibrationConfig(), fusion or FusionConfig()
    numbers = group_ids(groups, len(np.asarray(truth)))
    fitted: dict[str, ExpertCalibration] = {}
    unseen: list[tuple[np.ndarray, np.ndarray]] = []
    for name, (mean, variance) in experts.items():
        if not np.isfinite(np.asarray(mean, dtype=np.float64)).any():
            continue
        card = dict((cards or {}).get(name) or {})
        try:
            fitted[name], served = fit_expert(truth, mean, variance, config, numbers, card)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        unseen.append(served)
    if not fitted:
        raise DataError(f"no expert of {', '.join(experts)} has a prediction on any row")
    y = np.asarray(truth, dtype=np.float64)
    predicted = np.any([np.isfinite(mean).any(axis=1) for mean, _ in unseen], axis=0) & np.isfinite(y).any(axis=1)
    count = len(np.unique(numbers[predicted]))
    origin = FittedOn(split, fingerprint, int(predicted.sum()), count, pack_hashes(hashed(ids)))
    return Calibration(fitted, *_between(y, unseen), fusion, config, origin)


def fit_expert(
    truth: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    config: CalibrationConfig,
    groups: np.ndarray,
    card: dict[str, Any] | None = None,
) -> tuple[ExpertCalibration, tuple[np.ndarray, np.ndarray]]:
    """One expert's corrections, and its means and variances (N, 2) as calibrated without each row's own group.

    Args:
        truth: (N, 2).
        mean: (N, 2), as predicted.
        variance: (N, 2), as predicted; unknown ones are NaN, 0, negative or infinite.
        config: which layers.
        groups: (N,), integers.
        card: what the expert was.

    Raises:
        DataError: if the rows do not serve.
    """
    y, m = paired(truth, mean)
    v = np.asarray(variance, dtype=np.float64)
    if v.shape != m.shape:
        raise DataError(f"expected variances {m.shape}, as the means; got {v.shape}")
    v = np.where(np.isfinite(v) & (v > 0), v, np.nan)
    layer = fit_mean(config.mean, y, m, l2=config.l2, loss=config.loss)
    unseen = np.full_like(m, np.nan)
    spread, scored = np.full_like(m, np.nan), np.full_like(m, np.nan)
    rows = np.flatnonzero(np.isfinite(y).all(axis=1) & np.isfinite(m).all(axis=1))
    for kept, held in _folds(rows, groups):
        part = fit_mean(config.mean, y[kept], m[kept], l2=config.l2, loss=config.loss)
        unseen[held], spread[held] = part.apply(m[held], v[held])
        scored[held] = _scored(y, m, v, kept, held, part, config.variance)
    variance_layer = _variance_layer(config.variance, y[rows], unseen[rows], spread[rows])
    known = np.isfinite(scored).any(axis=0).all()
    conformal = ConformalIntervals.fit(y, unseen, scored) if variance_layer is not None and known else None
    pooled = pooled_variance(y, unseen)
    served = np.where(np.isfinite(scored), scored, np.where(np.isfinite(unseen), pooled, np.nan))
    return ExpertCalibration(layer, variance_layer, pooled, conformal, card or {}), (unseen, served)


def _folds(rows: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    count = min(FOLDS, len(np.unique(groups[rows])))
    if count < 2:
        raise DataError(f"a calibration needs labelled rows of at least two groups; got {count}")
    splitter = GroupKFold(n_splits=count)
    return [(rows[kept], rows[held]) for kept, held in splitter.split(rows, groups=groups[rows])]


def _scored(
    y: np.ndarray, m: np.ndarray, v: np.ndarray, kept: np.ndarray, held: np.ndarray, part: Any, kind: str
) -> np.ndarray:
    """Variances of the held rows, recalibrated by what the kept ones give."""
    layer = _variance_layer(kind, y[kept], *part.apply(m[kept], v[kept]))
    return np.full((len(held), 2), np.nan) if layer is None else layer.apply(part.apply(m[held], v[held])[1])


def _variance_layer(kind: str, y: np.ndarray, m: np.ndarray, v: np.ndarray) -> VarianceLayer | None:
    known = np.isfinite(y) & np.isfinite(m) & np.isfinite(v) & (v > 0)
    return VARIANCE_LAYERS[kind]().fit(y, m, v) if (known.sum(axis=0) >= 2).all() else None


def _between(
    truth: np.ndarray, unseen: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray | None, Stack | None]:
    """What joins two experts: the correlation of their errors, constant weights, and the stack."""
    if len(unseen) != 2:
        return np.zeros(2), None, None
    mean, variance = (np.stack(each) for each in zip(*unseen, strict=True))
    rows = (np.isfinite(mean).all(axis=0) & np.isfinite(truth)).sum(axis=0).min()
    if rows < 2:
        return np.zeros(2), None, None
    stack = fit_stack(truth, mean, variance) if rows >= MIN_ROWS else None
    return estimate_correlation(truth, mean), fit_constant_weight(truth, mean), stack
