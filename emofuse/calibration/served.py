"""The experts as they are fused: after a calibration, or else after their own cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration.bundle import Calibration
from emofuse.fusion.fused_variance import is_constant
from emofuse.fusion.parameters import FusionParameters, parameters_of_cards
from emofuse.fusion.select import recalibrated

Cards = Mapping[str, Mapping[str, Any] | None]
"""By expert, as the predictions' metadata has them."""
PROBES = np.logspace(-6, 0, 13)


def served(
    name: str, mean: ArrayLike, variance: ArrayLike, cards: Cards, calibration: Calibration | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, variances and where each variance comes from ("model", "pooled", "none"), each (..., 2).

    Args:
        name: "scene" or "face".
        mean: (..., 2), as predicted.
        variance: (..., 2), as predicted.
        cards: of the experts.
        calibration: takes the place of the cards.
    """
    if calibration is not None:
        return calibration.apply(name, mean, variance)
    m = np.asarray(mean, dtype=np.float64)
    return m, *recalibrated(m, np.asarray(variance, dtype=np.float64), cards.get(name) or {})


def known_together(cards: Cards, calibration: Calibration | None) -> FusionParameters:
    """What is known of the experts together."""
    return parameters_of_cards(cards) if calibration is None else calibration.fusion_parameters()


def constant_variance(name: str, cards: Cards, calibration: Calibration | None) -> np.ndarray:
    """Whether the expert's variance is the same whatever it says itself, bool (2,)."""
    if calibration is not None and name not in calibration.experts:
        return np.zeros(2, dtype=bool)
    said = np.repeat(PROBES[:, None], 2, axis=1)
    return is_constant(served(name, np.zeros_like(said), said, cards, calibration)[1])
