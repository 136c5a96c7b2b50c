"""Ranges of the options, told where they are made."""

from __future__ import annotations

from typing import Any

import pytest

from emofuse.config import CalibrationSweepConfig, FusionConfig, StabilizerConfig, SweepConfig
from emofuse.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (FusionConfig, {"variance_floor": 0.0}, "fusion.variance_floor must be above 0; got 0"),
        (FusionConfig, {"max_weight_ratio": 0.5}, "fusion.max_weight_ratio must be at least 1; got 0.5"),
        (FusionConfig, {"min_face_score": 1.5}, "fusion.min_face_score must be at least 0 and at most 1; got 1.5"),
        (FusionConfig, {"max_face_std": float("nan")}, "fusion.max_face_std must be above 0; got nan"),
        (FusionConfig, {"min_luma": 256}, "fusion.min_luma must be at least 0 and at most 255; got 256"),
        (StabilizerConfig, {"alpha": 0.0}, "stabilizer.alpha must be above 0 and at most 1; got 0"),
        (StabilizerConfig, {"uncertainty_threshold": (0.4, -1.0)}, "stabilizer.uncertainty_threshold must be above 0"),
        (StabilizerConfig, {"filter": "kalman", "process_variance": -1.0}, "process_variance must be at least 0"),
        (StabilizerConfig, {"window": 1}, "stabilizer.window must be at least 2; got 1"),
        (StabilizerConfig, {"frame_rate": 0.0}, "stabilizer.frame_rate must be above 0; got 0"),
        (SweepConfig, {"filters": ()}, "sweep.filters must name at least one"),
        (SweepConfig, {"threshold_quantile": (0.5, 1.5)}, "sweep.threshold_quantile must be .* got 1.5"),
        (CalibrationSweepConfig, {"folds": 1}, "sweep.folds must be at least 2; got 1"),
        (CalibrationSweepConfig, {"l2": (-1.0,)}, "sweep.l2 must be at least 0; got -1"),
    ],
)
def test_what_no_option_can_be_is_refused(config: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**options)


def test_ends_of_ranges_are_taken() -> None:
    FusionConfig(max_weight_ratio=1, min_face_score=1, min_luma=255, max_face_std="none")
    StabilizerConfig(alpha=1, process_variance=(0.0, 0.0), uncertainty_threshold=float("inf"))
