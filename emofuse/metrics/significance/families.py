"""Several declared comparisons together: Holm's correction, told as the level each of them is made at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.significance.conclusion import MARGIN, MIN_EFFECT, Conclusion, conclude
from emofuse.metrics.significance.estimate import Inference


def holm_levels(p: ArrayLike, level: float = 0.05) -> np.ndarray:
    """The level at which Holm's procedure tests each comparison of a family.

    In the order of p, the k-th of m is tested at level / (m - k + 1) until one fails; the others share its level.
    So Holm rejects exactly where the interval of confidence 1 - level_k leaves out 0: words taken from that interval
    and the adjusted p never disagree.

    Args:
        p: of the comparisons, shape (m,); NaN is not counted as a comparison and has the level of one by itself.
        level: of the family, within (0, 1).

    Raises:
        ValueError: if `level` is not within (0, 1) or p not one row.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not 0 < level < 1:
        raise ValueError(f"expected p of shape (m,) and a level within (0, 1); got {values.shape} and {level}")
    levels = np.full(values.shape, level)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    steps = level / np.arange(len(order), 0, -1)
    failed = np.flatnonzero(values[order] >= steps)
    if len(failed):
        steps[failed[0] :] = steps[failed[0]]
    levels[order] = steps
    return levels


def holm_p(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p, (m,): the k-th smallest of m times m - k + 1, never below that of a smaller one, at most 1.

    Args:
        p: of the comparisons, shape (m,); NaN is not counted as a comparison and stays.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    adjusted = np.array(p, dtype=np.float64)
    order = np.argsort(adjusted)[: np.isfinite(adjusted).sum()]
    adjusted[order] = np.minimum(np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def conclude_family(
    differences: Sequence[Inference],
    *,
    lower_is_better: bool,
    margin: float = MARGIN,
    min_effect: float = MIN_EFFECT,
    level: float = 0.05,
) -> list[Conclusion]:
    """The words for a family of declared comparisons, each at its level under Holm's correction.

    Args, Raises: as `conclude`, with several differences in one metric and the level of the whole family.
    """
    levels = holm_levels([difference.p for difference in differences], level)
    return [
        conclude(each, lower_is_better=lower_is_better, margin=margin, min_effect=min_effect, level=float(own))
        for each, own in zip(differences, levels, strict=True)
    ]
