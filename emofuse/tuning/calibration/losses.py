"""The rows of a sweep, and what every rule and gate loses on rows that it was not fitted on.

A gate only chooses between two answers, with the face and without it. So a rule is worked out twice for each fitted
calibration, and a threshold costs one comparison per row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.model_selection import GroupKFold

from emofuse.affect import AXES
from emofuse.calibration import Calibration, fit_calibration
from emofuse.calibration.ordinal import lattice
from emofuse.calibration.rows import group_ids
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.errors import DataError
from emofuse.fusion.fused_variance import is_constant
from emofuse.fusion.gating import gate
from emofuse.fusion.parameters import FusionParameters
from emofuse.fusion.select import can_fuse, fuse
from emofuse.metrics.uncertainty import crps_rows, nll_rows
from emofuse.tables.columns import both, column, group_names, texts
from emofuse.tables.schema import EXPERTS
from emofuse.tables.splits import splits_needed
from emofuse.tuning.calibration.grid import Grid, gated

BUNDLES = 40
"""Sums of losses kept of each fold: more groups are put together, whole, so that the surface stays small."""
BLOCK = 65_536
"""Rows that are fused at once, so that memory does not grow with the split."""

Layers = Mapping[str, CalibrationConfig]
"""By expert, scene and face."""


@dataclass(frozen=True, eq=False)
class CrossValidationData:
    """The rows a calibration is fitted and compared on.

    Attributes:
        truth: (N, 2), reference scale, complete.
        mean: (2, N, 2), scene and face as predicted; NaN = no prediction.
        variance: (2, N, 2), as predicted; NaN = unknown.
        face_score: (N,).
        luma: (N,).
        groups: (N,) integers, what is never split.
        ids: str (N,).
        fold: (N,), in which a row is held out.
        bundle: (N,), number of the row's bundle of groups within its fold.
        scored: bool (N,), rows that every configuration answers; on these configurations are compared.
    """

    truth: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    face_score: np.ndarray
    luma: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    fold: np.ndarray
    bundle: np.ndarray
    scored: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, split: str, *, folds: int = 5, seed: int = 0) -> CrossValidationData:
        """The labelled rows of a split of predictions that no expert was trained on, dealt to grouped folds.

        Args:
            table: of `schema.PREDICTIONS`.
            split: "valid".
            folds: how many.
            seed: of the deal.

        Raises:
            DataError: if there are none, or fewer groups than folds.
        """
        mean = np.stack([both(table, name) for name in EXPERTS])
        labelled = (texts(table, "split") == split) & np.isfinite(both(table)).all(axis=1)
        predicted = labelled & np.isfinite(mean).all(axis=2).any(axis=0)
        rows = np.flatnonzero(predicted & (column(table, "in_sample") != 1))
        if not len(rows):
            seen = int((predicted & (column(table, "in_sample") == 1)).sum())
            advice = "; train that expert on your own train split" if seen else splits_needed(table)
            raise DataError(
                f"a calibration needs labelled predictions of split {split!r} that no expert was trained on; "
                f"of {table.num_rows} rows {labelled.sum()} belong to it with a label, {predicted.sum()} of them were "
                f"evaluated, and of these {seen} were in an expert's training set{advice}"
            )
        table, mean = table.take(rows), mean[:, rows]
        groups = group_ids(group_names(table), len(rows))
        fold, bundle = dealt(groups, folds, seed)
        return cls(
            both(table),
            mean,
            np.stack([both(table, name, "variance") for name in EXPERTS]),
            column(table, "face_score"),
            column(table, "luma"),
            groups,
            texts(table, "sample_id"),
            fold,
            bundle,
            always_answered(mean),
        )

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def both(self) -> bool:
        """Whether there are rows on which both experts speak."""
        return bool(np.isfinite(self.mean).all(axis=(0, 2)).any())

    @property
    def few_values(self) -> bool:
        """Whether the labels of an axis take few values."""
        return any(lattice(self.truth[:, axis]) is not None for axis in range(len(AXES)))

    @property
    def heard(self) -> np.ndarray:
        """Rows on which an expert speaks, bool (2, N)."""
        return np.isfinite(self.mean).all(axis=2)

    @property
    def folds(self) -> int:
        """How many folds rows are held out in."""
        return int(self.fold.max()) + 1

    def bundles(self, rows: np.ndarray) -> np.ndarray:
        """How many of the rows (bool (N,)) are in each bundle of each fold, (folds x BUNDLES,)."""
        place = self.fold * BUNDLES + self.bundle
        return np.bincount(place[rows], minlength=self.folds * BUNDLES)

    def fit(
        self,
        rows: np.ndarray | slice,
        layers: Layers | CalibrationConfig,
        fusion: FusionConfig | None = None,
        *,
        fingerprint: str = "",
        cards: Mapping[str, dict[str, Any]] | None = None,
    ) -> Calibration:
        """A calibration fitted on these rows (a mask, numbers or a slice); all of them are of the valid split."""
        experts = {name: (self.mean[i][rows], self.variance[i][rows]) for i, name in enumerate(EXPERTS)}
        return fit_calibration(
            self.truth[rows], experts, layers, fusion,
            split="valid", fingerprint=fingerprint, groups=self.groups[rows], cards=cards, ids=self.ids[rows],
            face_score=self.face_score[rows], luma=self.luma[rows],
        )  # fmt: skip


Task = Callable[[CrossValidationData], np.ndarray]
"""Losses (candidates, …, BUNDLES) of one fold."""


def dealt(groups: np.ndarray, folds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fold and bundle of each row, integers (N,); neither takes a group apart.

    Raises:
        DataError: if there are fewer groups than folds.
    """
    count = len(np.unique(groups))
    if not 2 <= folds <= count:
        raise DataError(f"a sweep in {folds} folds needs 2 folds or more, and as many groups; valid has {count}")
    fold = np.empty(len(groups), dtype=np.int64)
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(groups, groups=groups)):
        fold[held] = number
    place = np.empty(len(groups), dtype=np.int64)
    for number in range(folds):
        held = fold == number
        place[held] = np.unique(groups[held], return_inverse=True)[1]
    return fold, place % BUNDLES


def always_answered(mean: np.ndarray) -> np.ndarray:
    """Rows that have an answer whatever gate is shut: with the scene where both experts take part; bool (N,)."""
    there = np.isfinite(mean).all(axis=2)
    return there[0] if there[0].any() else there[1]


def rule_losses(
    sweep_data: CrossValidationData, *, fold: int, layers: Layers, grid: Grid, objective: str
) -> np.ndarray:
    """What every rule and gate behind these layers, fitted without the fold, loses on its rows, summed.

    Args:
        sweep_data: the rows.
        fold: the one held out.
        layers: by expert.
        grid: its rules and gates.
        objective: "crps", "mae" or "nll", mean over both axes.

    Returns:
        (rules x gates, BUNDLES); NaN for what cannot be fitted or scored.
    """
    held = np.flatnonzero((sweep_data.fold == fold) & sweep_data.scored)
    try:
        calibration = sweep_data.fit(sweep_data.fold != fold, layers)
    except DataError:
        return np.full((len(grid), BUNDLES), np.nan)
    blocks = np.array_split(held, max(1, -(-len(held) // BLOCK)))
    return np.sum([_of_rows(sweep_data, calibration, rows, grid, objective) for rows in blocks], axis=0)


def _of_rows(
    sweep_data: CrossValidationData, calibration: Calibration, rows: np.ndarray, grid: Grid, objective: str
) -> np.ndarray:
    """Losses of every rule and gate behind a calibration, (rules x gates, BUNDLES)."""
    moved = [_moved(calibration, i, sweep_data, rows) for i in range(len(EXPERTS))]
    mean, variance = (np.stack([each[k] for each in moved]) for k in (0, 1))
    shut = np.stack([_shut(sweep_data, rows, variance[1], gated(grid.fusions[0], each)) for each in grid.gates])
    alone = mean.copy()
    alone[1] = np.nan
    # As evaluate does: where a face's deviation is always the same, it is no gate.
    flat = is_constant(variance[1]).any()
    refused = np.array([flat and each["max_face_std"] is not None for each in grid.gates])
    place = np.eye(BUNDLES)[sweep_data.bundle[rows]]
    sums, parameters = [], calibration.fusion_parameters()
    for fusion in grid.fusions:
        if not can_fuse(fusion.method, parameters):
            sums.append(np.full((len(grid.gates), BUNDLES), np.nan))
            continue
        open_, closed = (
            _losses(sweep_data.truth[rows], *_fused(each, variance, fusion, parameters), objective)
            for each in (mean, alone)
        )
        # A row that no gate shuts needs no second answer, and a face that is the only expert has none.
        change = np.where(shut.any(axis=0), closed - open_, 0.0)
        sums.append(np.where(refused[:, None], np.nan, open_ @ place + shut @ (change[:, None] * place)))
    return np.concatenate(sums)


def _moved(
    calibration: Calibration, number: int, sweep_data: CrossValidationData, rows: np.ndarray
) -> tuple[np.ndarray, ...]:
    mean, name = sweep_data.mean[number, rows], EXPERTS[number]
    # An expert that speaks in this fold alone could not be calibrated without it: here it stays silent.
    heard = mean if name in calibration.experts else np.full_like(mean, np.nan)
    return calibration.apply(name, heard, sweep_data.variance[number, rows])


def _shut(sweep_data: CrossValidationData, held: np.ndarray, variance: np.ndarray, fusion: FusionConfig) -> np.ndarray:
    shut = gate(sweep_data.face_score[held], variance, sweep_data.luma[held], fusion)
    return np.logical_or.reduce(list(shut.values())).astype(np.float64)


def _fused(
    mean: np.ndarray, variance: np.ndarray, fusion: FusionConfig, parameters: FusionParameters
) -> tuple[np.ndarray, np.ndarray]:
    joined = fuse(mean, variance, fusion, parameters)
    return np.clip(joined.mean, -1, 1), joined.variance


def _losses(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray, objective: str) -> np.ndarray:
    """(N,), mean over both axes; NaN where a variance that is needed is unknown."""
    if objective == "mae":
        return np.abs(truth - mean).mean(axis=1)
    rows = {"crps": crps_rows, "nll": nll_rows}[objective]
    return rows(truth, mean, np.where(variance > 0, variance, np.nan)).mean(axis=1)
