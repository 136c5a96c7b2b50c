"""Conformal intervals of what is fused, for each kind of row by itself: one expert alone, or both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration.conformal import ConformalIntervals
from emofuse.config import FusionConfig
from emofuse.fusion.gating import gate
from emofuse.fusion.parameters import FusionParameters
from emofuse.fusion.select import can_fuse, fuse

KINDS = ("scene", "face", "both")
FEWEST_GROUPS = 99
"""A kind of row with fewer groups has no finite interval of level .99, and takes its expert's, fitted on all rows."""


def kind_of_row(present: ArrayLike) -> np.ndarray:
    """ "scene", "face", "both", or "" where there is neither: str (N,).

    Args:
        present: bool (2, N), whether scene and face take part: they have a mean, and no gate is shut.
    """
    scene, face = np.asarray(present, dtype=bool)
    return np.where(scene & face, "both", np.where(scene, "scene", np.where(face, "face", "")))


def intervals(
    mean: ArrayLike,
    variance: ArrayLike,
    present: ArrayLike,
    conformal: Mapping[str, ConformalIntervals],
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of what is fused, (N, 2), within [-1, 1]; NaN where a kind of row was never fitted.

    Args:
        mean: (N, 2), fused.
        variance: (N, 2), fused.
        present: bool (2, N), whether scene and face take part.
        conformal: by kind of row.
        level: the coverage that is asked for.

    Raises:
        ConfigError: if the level lies outside those that were fitted.
    """
    kind, m, v = kind_of_row(present), np.asarray(mean, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    low, high = np.full(m.shape, np.nan), np.full(m.shape, np.nan)
    for name, fitted in conformal.items():
        rows = kind == name
        low[rows], high[rows] = fitted.interval(m[rows], v[rows], level)
    return np.clip(low, -1, 1), np.clip(high, -1, 1)


def gated_means(
    mean: np.ndarray, variance: np.ndarray, face_score: ArrayLike, luma: ArrayLike, fusion: FusionConfig
) -> np.ndarray:
    """Means (2, N, 2) without those of faces that a gate shuts out; arguments as `emofuse.fusion.gate` takes them."""
    shut = np.logical_or.reduce(list(gate(face_score, variance[1], luma, fusion).values()))
    kept = mean.copy()
    kept[1, shut] = np.nan
    return kept


def fit_intervals(
    truth: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    fusion: FusionConfig,
    parameters: FusionParameters,
    alone: Mapping[str, ConformalIntervals],
    groups: np.ndarray,
) -> dict[str, ConformalIntervals]:
    """Conformal intervals of each kind of row.

    Args:
        truth: (N, 2).
        mean: (2, N, 2), of scene and face, each calibrated without the row's own group, gates shut.
        variance: (2, N, 2), likewise.
        fusion: the rule.
        fitted: what the rule needs, by the names that `emofuse.fusion.select.fuse` gives them.
        alone: by expert, intervals fitted on all of its rows.
        groups: (N,), integers.
    """
    found = dict(alone)
    if not can_fuse(fusion.method, parameters):
        return found
    joined = fuse(mean, variance, fusion, parameters)
    kind = kind_of_row(np.isfinite(mean).all(axis=2))
    for name in KINDS:
        rows = (kind == name) & np.isfinite(truth).all(axis=1) & (joined.variance > 0).all(axis=1)
        if len(np.unique(groups[rows])) >= (FEWEST_GROUPS if name in alone else 1):
            centre = np.clip(joined.mean[rows], -1, 1)
            found[name] = ConformalIntervals.fit(truth[rows], centre, joined.variance[rows], groups=groups[rows])
    return found
