"""Fitting a whole calibration on the valid split, in its order: means, then variances, then what joins them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold

from emofuse.calibration.bundle import Calibration, ExpertCalibration, FittedOn, hashed
from emofuse.calibration.conformal import ConformalIntervals
from emofuse.calibration.intervals import fit_intervals, gated_means
from emofuse.calibration.means import MeanLayer
from emofuse.calibration.per_axis import fit_means, fit_variances
from emofuse.calibration.rows import group_ids, paired
from emofuse.calibration.variance import pooled_variance
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.fused_variance import FusedScale, fused_variance_scale
from emofuse.fusion.joint_parameters import JointParameters, fit_joint_parameters
from emofuse.fusion.rules import fit_constant_weight
from emofuse.fusion.select import METHODS, can_fuse, fuse
from emofuse.fusion.stacking import MIN_ROWS, Stack, fit_stack
from emofuse.tables.hashes import pack_hashes
from emofuse.tables.schema import EXPERTS

FOLDS = 5


def fit_calibration(
    truth: ArrayLike,
    experts: Mapping[str, tuple[ArrayLike, ArrayLike]],
    config: CalibrationConfig | Mapping[str, CalibrationConfig] | None = None,
    fusion: FusionConfig | None = None,
    *,
    split: str,
    fingerprint: str,
    groups: ArrayLike | None = None,
    face_score: ArrayLike | None = None,
    luma: ArrayLike | None = None,
    cards: Mapping[str, dict[str, Any]] | None = None,
    ids: Iterable[str] = (),
) -> Calibration:
    """A calibration of all experts, fitted on valid.

    The mean layers are fitted on all rows. What measures errors (variances, pooled variances, correlations,
    weights, fused variances, conformal intervals) is fitted on means that were calibrated without the row's own
    group, in five grouped folds, so that it does not flatter itself by the fit of the means.

    Args:
        truth: (N, 2), reference scale; rows without a label are left out.
        experts: by name, (mean, variance), each (N, 2); scene before face. One without any prediction is left out.
        config: which layers, for all experts or by name.
        fusion: the method and gates to store with it; the intervals of what is fused are fitted for them.
        split: where the rows are from; only "valid" is taken.
        fingerprint: of the predictions.
        groups: (N,), what must not be split; by default every row is its own.
        face_score: (N,), detection scores, for gates; by default not measured.
        luma: (N,), likewise.
        cards: what each expert was, by name.
        ids: of the rows, so that they are known as in-sample wherever they stand again.

    Raises:
        ConfigError: if `split` is not "valid".
        DataError: if the rows do not serve.
    """
    if split != "valid":
        raise ConfigError(f"a calibration is fitted on the valid split alone; these rows are of {split!r}")
    fusion = fusion or FusionConfig()
    layers = configs_by_expert(config or CalibrationConfig(), experts)
    numbers = group_ids(groups, len(np.asarray(truth)))
    fitted: dict[str, ExpertCalibration] = {}
    unseen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (mean, variance) in experts.items():
        if not np.isfinite(np.asarray(mean, dtype=np.float64)).any():
            continue
        if name not in layers:
            raise ConfigError(f"no layers for expert {name!r}; given for {', '.join(layers)}")
        card = dict((cards or {}).get(name) or {})
        try:
            fitted[name], unseen[name] = fit_expert(truth, mean, variance, layers[name], numbers, card)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    if not fitted:
        raise DataError(f"no expert of {', '.join(experts)} has a prediction on any row")
    y = np.asarray(truth, dtype=np.float64)
    predicted = np.any([np.isfinite(mean).any(axis=1) for mean, _ in unseen.values()], axis=0) & np.isfinite(y).any(
        axis=1
    )
    count = len(np.unique(numbers[predicted]))
    origin = FittedOn(split, fingerprint, int(predicted.sum()), count, pack_hashes(hashed(ids)))
    joined = _between(y, list(unseen.values()), numbers, fusion)
    made = Calibration(fitted, *joined, fusion, {name: layers[name] for name in fitted}, origin)
    score, light = (np.full(len(y), np.nan) if each is None else each for each in (face_score, luma))
    nothing = np.full((2, *y.shape), np.nan)
    mean, variance = (np.stack([unseen.get(name, nothing)[k] for name in EXPERTS]) for k in (0, 1))
    heard = gated_means(mean, variance, score, light, fusion)
    made = replace(made, scales=_scales(made, y, heard, variance))
    alone = {name: each.conformal for name, each in fitted.items() if each.conformal is not None}
    parameters = made.fusion_parameters()
    return replace(made, conformal=fit_intervals(y, heard, variance, fusion, parameters, alone, numbers))


def configs_by_expert(
    config: CalibrationConfig | Mapping[str, CalibrationConfig], experts: Iterable[str]
) -> dict[str, CalibrationConfig]:
    """Each expert's layers; one configuration stands for all."""
    return dict.fromkeys(experts, config) if isinstance(config, CalibrationConfig) else dict(config)


def _scales(made: Calibration, truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> dict[str, FusedScale]:
    """Of every rule that can be had, on what the experts say without the row's own group, gates shut."""
    parameters, scales = made.fusion_parameters(), {}
    for method in METHODS:
        cap = made.fusion.threshold("max_weight_ratio") if method == "inverse_variance" else None
        rule = replace(made.fusion, method=method, max_weight_ratio=cap)  # type: ignore[arg-type]
        if can_fuse(method, parameters):
            fused = fuse(mean, variance, rule, parameters)
            scales[method] = fused_variance_scale(truth, np.clip(fused.mean, -1, 1), fused.variance, mean)
    return scales


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
    layer = fit_means(config, y, m)
    unseen = np.full_like(m, np.nan)
    spread, scored = np.full_like(m, np.nan), np.full_like(m, np.nan)
    rows = np.flatnonzero(np.isfinite(y).all(axis=1) & np.isfinite(m).all(axis=1))
    for kept, held in _folds(rows, groups):
        part = fit_means(config, y[kept], m[kept])
        unseen[held], spread[held] = part.apply(m[held], v[held])
        scored[held] = _scored(y, m, v, kept, held, part, config)
    variance_layer = fit_variances(config, y[rows], unseen[rows], spread[rows])
    pooled = pooled_variance(y, unseen)
    served = np.where(np.isfinite(scored), scored, np.where(np.isfinite(unseen), pooled, np.nan))
    known = (served > 0).any(axis=0).all()
    conformal = ConformalIntervals.fit(y, unseen, served, groups=groups) if known else None
    return ExpertCalibration(layer, variance_layer, pooled, conformal, card or {}), (unseen, served)


def _folds(rows: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    count = min(FOLDS, len(np.unique(groups[rows])))
    if count < 2:
        raise DataError(f"a calibration needs labelled rows of at least two groups; got {count}")
    splitter = GroupKFold(n_splits=count)
    return [(rows[kept], rows[held]) for kept, held in splitter.split(rows, groups=groups[rows])]


def _scored(
    y: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    kept: np.ndarray,
    held: np.ndarray,
    part: MeanLayer,
    config: CalibrationConfig,
) -> np.ndarray:
    """Variances of the held rows, recalibrated by what the kept ones give."""
    layer = fit_variances(config, y[kept], *part.apply(m[kept], v[kept]))
    return np.full((len(held), 2), np.nan) if layer is None else layer.apply(part.apply(m[held], v[held])[1])


def _between(
    truth: np.ndarray, unseen: list[tuple[np.ndarray, np.ndarray]], groups: np.ndarray, fusion: FusionConfig
) -> tuple[JointParameters | None, np.ndarray | None, Stack | None]:
    """What joins two experts: all that is known of them together, constant weights, and the stack."""
    if len(unseen) != 2:
        return None, None, None
    mean, variance = (np.stack(each) for each in zip(*unseen, strict=True))
    rows = (np.isfinite(mean).all(axis=0) & np.isfinite(truth)).sum(axis=0).min()
    if rows < 2:
        return None, None, None
    stack = fit_stack(truth, mean, variance, floor=fusion.floor) if rows >= MIN_ROWS else None
    joint = fit_joint_parameters(truth, mean, variance, groups=groups)
    return joint, fit_constant_weight(truth, mean), stack
