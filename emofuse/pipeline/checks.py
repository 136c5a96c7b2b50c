"""Options that cannot be served, told before a run directory is claimed or a picture read."""

from __future__ import annotations

import numpy as np

from emofuse.calibration import Calibration
from emofuse.config import JudgeConfig, PerceiveConfig
from emofuse.errors import ConfigError
from emofuse.fusion import fuse
from emofuse.pipeline.judge import chosen_fusion
from emofuse.stabilizer import make_stabilizer

FEWEST_RESAMPLES = 20


def check_perceive(config: PerceiveConfig) -> None:
    """That every number of the options is one that it can be.

    Raises:
        ConfigError: naming the first option that is not.
    """
    counts = {
        "compute": ("batch_size", "face_chunk", "threads", "actors", "rows_per_block"),
        "scene": ("passes",),
        "face": ("views", "max_faces", "detect_size"),
        "media": ("max_pixels", "max_bytes"),
    }
    for part, names in counts.items():
        for name in names:
            _least(f"{part}.{name}", getattr(getattr(config, part), name), 1)
    _least("media.retries", config.media.retries, 0)
    if not 0 <= config.face.min_score <= 1:
        raise ConfigError(f"face.min_score must lie in [0, 1]; got {config.face.min_score:g}")


def check_judge(config: JudgeConfig, calibration: Calibration | None) -> None:
    """That the fusion, the stabilizer and the statistics of the options can be had.

    Raises:
        ConfigError: saying what cannot.
    """
    statistics = config.statistics
    _least("statistics.resamples", statistics.resamples, FEWEST_RESAMPLES)
    _least("statistics.gallery", statistics.gallery, 0)
    if not 0 < statistics.confidence < 1:
        raise ConfigError(f"statistics.confidence must lie within (0, 1), as .95; got {statistics.confidence:g}")
    if not config.fusion.variance_floor > 0:
        raise ConfigError(f"fusion.variance_floor must be positive; got {config.fusion.variance_floor:g}")
    make_stabilizer(config.stabilizer)
    nothing, fitted = np.full((2, 1, 2), np.nan), calibration.fusion_arguments() if calibration else {}
    fuse(nothing, nothing, chosen_fusion(config.fusion, calibration), **fitted)


def _least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ConfigError(f"{name} must be at least {least}; got {value}")
