"""Options that cannot be served, told before a run directory is claimed or an image read."""

from __future__ import annotations

import numpy as np

from emofuse.calibration import Calibration
from emofuse.calibration.served import Cards, constant_variance, known_together
from emofuse.config import EvaluationConfig, InferenceConfig, at_least
from emofuse.errors import ConfigError
from emofuse.fusion.gating import check_gate
from emofuse.fusion.select import chosen_fusion, fuse
from emofuse.stabilizer import make_stabilizer

MIN_RESAMPLES = 20


def check_inference(config: InferenceConfig) -> None:
    """That every number of the options is one that it can be.

    Raises:
        ConfigError: naming the first option that is not.
    """
    at_least(1, config, "compute", "batch_size", "face_chunk", "threads", "actors", "rows_per_block")
    at_least(1, config, "scene", "passes")
    at_least(1, config, "face", "views", "max_faces", "detect_size")
    at_least(1, config, "media", "max_pixels", "max_bytes")
    at_least(0, config, "media", "retries")
    if not 0 <= config.face.min_score <= 1:
        raise ConfigError(f"face.min_score must lie in [0, 1]; got {config.face.min_score:g}")


def check_evaluation(config: EvaluationConfig, calibration: Calibration | None, cards: Cards | None = None) -> None:
    """That the fusion, the stabilizer and the statistics of the options can be had.

    Args:
        config: the options.
        calibration: the one they name.
        cards: of the experts; without them a fusion is not checked that asks how these were fitted.

    Raises:
        ConfigError: saying what cannot.
    """
    statistics = config.statistics
    at_least(MIN_RESAMPLES, config, "statistics", "resamples")
    at_least(0, config, "statistics", "gallery")
    if not 0 < statistics.confidence < 1:
        raise ConfigError(f"statistics.confidence must lie within (0, 1), as .95; got {statistics.confidence:g}")
    if not config.fusion.variance_floor > 0:
        raise ConfigError(f"fusion.variance_floor must be positive; got {config.fusion.variance_floor:g}")
    make_stabilizer(config.stabilizer)
    if calibration is None and cards is None:
        return
    experts = cards or {}
    fusion = chosen_fusion(config.fusion, calibration.fusion if calibration else None)
    check_gate(fusion, constant_variance("face", experts, calibration))
    nothing = np.full((2, 1, 2), np.nan)
    fused = fuse(nothing, nothing, fusion, known_together(experts, calibration))
    if calibration:
        calibration.intervals(fused.mean, fused.variance, np.zeros((2, 1), dtype=bool), statistics.confidence)
