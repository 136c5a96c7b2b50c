"""Gates: rows whose face is left out of the fusion."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.config import FusionConfig
from emofuse.errors import ConfigError
from emofuse.fusion.inputs import usable


def gate(
    face_score: ArrayLike, face_variance: ArrayLike, luma: ArrayLike, config: FusionConfig
) -> dict[str, np.ndarray]:
    """Which gate excludes the face from the fusion, row by row.

    Args:
        face_score: (N,), detection score, 0 to 1.
        face_variance: (N, 2), as it will be fused (recalibrated, pooled where unknown).
        luma: (N,), mean BT.601 luma, 0-255.
        config: the thresholds; one that is not given or is none leaves its gate open.

    Returns:
        `gate_score`, `gate_std`, `gate_luma`: bool (N,), True where shut. What was not measured shuts no
        gate, but a face that was found and whose variance is still unknown shuts `gate_std`, if that is set.
    """
    score, light = np.asarray(face_score, dtype=np.float64), np.asarray(luma, dtype=np.float64)
    variance = np.asarray(face_variance, dtype=np.float64)
    shut: dict[str, np.ndarray] = {name: np.zeros(score.shape, dtype=bool) for name in GATES}
    if (least := config.threshold("min_face_score")) is not None:
        shut["gate_score"] = score < least
    if (most := config.threshold("max_face_std")) is not None:
        wide = np.isfinite(variance) & (variance > most**2)
        unknown = ~usable(variance) & np.isfinite(score)[:, None]
        shut["gate_std"] = np.asarray((wide | unknown).any(axis=-1))
    if (darkest := config.threshold("min_luma")) is not None:
        shut["gate_luma"] = light < darkest
    return shut


GATES = ("gate_score", "gate_std", "gate_luma")


def check_gate(config: FusionConfig, constant: ArrayLike) -> None:
    """That a gate on the face's deviation has something to go by.

    Args:
        config: the thresholds.
        constant: bool (2,), whether the face's variance is the same on every row.

    Raises:
        ConfigError: if a deviation that is always the same is to be the gate.
    """
    same = [axis for axis, each in zip(AXES, np.asarray(constant), strict=True) if each]
    if config.threshold("max_face_std") is not None and same:
        raise ConfigError(
            f"max_face_std is no gate here: the face expert's {' and '.join(same)} variance is the same on every row, "
            "so it would shut out every face or none; leave it out, or use min_face_score"
        )
