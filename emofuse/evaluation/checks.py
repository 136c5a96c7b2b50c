"""Options that cannot be served, told before a run directory is claimed or an image read."""

from __future__ import annotations

import math

from emofuse.calibration import Calibration
from emofuse.config import EvaluationConfig, InferenceConfig, at_least
from emofuse.errors import ConfigError
from emofuse.fusion.select import check_fusion, chosen_fusion


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


def check_evaluation(config: EvaluationConfig, calibration: Calibration | None) -> None:
    """That the fusion has what was to be fitted for it, and every number of the statistics is one that it can be.

    Raises:
        ConfigError: saying what cannot.
    """
    statistics = config.statistics
    at_least(0, config, "statistics", "gallery")
    if not 0.5 < statistics.confidence < 1:
        raise ConfigError(f"statistics.confidence must lie within (.5, 1), as .95; got {statistics.confidence:g}")
    if not 0 < statistics.margin < math.inf:
        raise ConfigError(f"statistics.margin must be above 0, as .01; got {statistics.margin:g}")
    if not 0 <= statistics.min_effect < math.inf:
        raise ConfigError(f"statistics.min_effect must be 0 or more; got {statistics.min_effect:g}")
    fitted = calibration.fusion_arguments() if calibration else {"weights": None, "stack": None}
    check_fusion(chosen_fusion(config.fusion, calibration.fusion if calibration else None), **fitted)
