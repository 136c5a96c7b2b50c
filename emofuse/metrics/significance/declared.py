"""Which question is asked of which systems, in which metric and on which rows: declared before the data are seen.

Each family holds both axes and is corrected by itself. All else is exploratory: an interval and an unadjusted p,
no word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.metrics.accuracy import HIGHER_IS_BETTER, mae
from emofuse.metrics.significance.conclusion import MARGIN, MIN_EFFECT, Conclusion
from emofuse.metrics.significance.estimate import Inference
from emofuse.metrics.significance.families import conclude_family, holm_p
from emofuse.metrics.significance.systems import difference

PRIMARY = "primary"
"""Is the fusion better than the scene, in MAE, where a face was used (elsewhere they are the same)?"""
BASELINE = "baseline"
"""Does the fusion beat the constant that is harder to beat, in MAE?"""
CALIBRATION = "calibration"
"""Does the calibration help, in the metric it was fitted for?"""
EXPLORATORY = "exploratory"
CONSTANTS = ("constant_mean", "constant_median")


@dataclass(frozen=True)
class Words:
    """What the words mean, as `conclude` takes it; `level` is that of each family."""

    margin: float = MARGIN
    min_effect: float = MIN_EFFECT
    level: float = 0.05


@dataclass(frozen=True)
class Comparison:
    """metric(a) - metric(b) on one axis.

    Attributes:
        family: "primary", "baseline", "calibration" or "exploratory".
        difference: on the rows of the family that both systems have; its interval is unadjusted.
        p_holm: p adjusted within the family; NaN where exploratory.
        conclusion: of `a`, with the interval at the level of the family; None where exploratory.
    """

    family: str
    a: str
    b: str
    axis: str
    metric: str
    difference: Inference
    p_holm: float
    conclusion: Conclusion | None


def declared(
    truth: ArrayLike,
    systems: Mapping[str, np.ndarray],
    groups: ArrayLike | None,
    face_used: np.ndarray,
    *,
    fitted_metric: str | None = None,
    words: Words = Words(),
) -> list[Comparison]:
    """The declared families, as far as their systems are there; each axis has its own rows.

    Two systems that give the same numbers are not compared.

    Args:
        truth: labels, (N, 2), NaN where there is none.
        systems: means by name, each (N, 2), NaN where there is no opinion; "fused" is compared with "scene", with
            `CONSTANTS` and with "fused_raw".
        groups: names, shape (N,); None: every row is its own group.
        face_used: (N,) or (N, 2), whether a face had a part in the fused estimate.
        fitted_metric: what the calibration was fitted for, of those of `systems.difference`; None without one.
        words: margin of equivalence, minimum effect and level of a family.
    """
    y = np.asarray(truth, dtype=np.float64)
    used = face_used if face_used.ndim == 2 else face_used[:, None]
    asked = [(PRIMARY, "scene", "mae", np.where(used, y, np.nan))]
    asked += [(BASELINE, "constant", "mae", y)]
    asked += [(CALIBRATION, "fused_raw", fitted_metric, y)] if fitted_metric else []
    found = []
    for family, against, metric, labels in asked:
        rows = list(_family(labels, systems, groups, against, metric))
        if rows:
            found += _concluded(family, metric, rows, words)
    return found


def exploratory(
    truth: ArrayLike,
    systems: Mapping[str, np.ndarray],
    pairs: Iterable[tuple[str, str]],
    groups: ArrayLike | None,
    metrics: Iterable[str] = ("mae", "ccc"),
    *,
    confidence: float = 0.95,
) -> list[Comparison]:
    """Pairs of systems in some metrics on both axes, without a word; those of the same numbers are left out.

    Args: as `declared`, with pairs of names among `systems` and the confidence of the intervals.
    """
    y, names = np.asarray(truth, dtype=np.float64), list(metrics)
    found = []
    for a, b in pairs:
        for k, axis in enumerate(AXES):
            if _differ(y[:, k], systems[a][:, k], systems[b][:, k]):
                one = y[:, k], systems[a][:, k], systems[b][:, k]
                each = difference(*one, groups, metrics=names, confidence=confidence)
                found += [Comparison(EXPLORATORY, a, b, axis, name, each[name], np.nan, None) for name in names]
    return found


def _family(
    y: np.ndarray, systems: Mapping[str, np.ndarray], groups: ArrayLike | None, against: str, metric: str
) -> Iterator[tuple[str, str, Inference]]:
    """(b, axis, difference of "fused" and b) for each axis on which there is something to compare."""
    for k, axis in enumerate(AXES):
        b = _harder(y[:, k], systems, k) if against == "constant" else against
        if not {"fused", b} <= set(systems):
            continue
        one = y[:, k], systems["fused"][:, k], systems[b][:, k]
        if _differ(*one):
            yield b, axis, difference(*one, groups, metrics=[metric])[metric]


def _concluded(family: str, metric: str, rows: list[tuple[str, str, Inference]], words: Words) -> list[Comparison]:
    differences = [each for _, _, each in rows]
    said = conclude_family(differences, lower_is_better=not HIGHER_IS_BETTER[metric], **vars(words))
    adjusted = holm_p([each.p for each in differences])
    return [
        Comparison(family, "fused", b, axis, metric, each, float(p), conclusion)
        for (b, axis, each), p, conclusion in zip(rows, adjusted, said, strict=True)
    ]


def _harder(y: np.ndarray, systems: Mapping[str, np.ndarray], k: int) -> str:
    """The constant of least MAE on the rows that the fusion has too."""
    there = [name for name in CONSTANTS if name in systems]
    if "fused" not in systems or not there:
        return CONSTANTS[0]
    shared = np.where(np.isfinite(systems["fused"][:, k]), y, np.nan)
    return min(there, key=lambda name: mae(shared, systems[name][:, k]))


def _differ(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
    known = np.isfinite([y, a, b]).all(axis=0)
    return bool(np.any(a[known] != b[known]))
