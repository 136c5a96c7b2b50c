"""Ranges of the options, told where they are made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emofuse.config import (
    CalibrationSweepConfig,
    ComputeConfig,
    FaceConfig,
    FusionConfig,
    MediaConfig,
    SceneConfig,
    StabilizerConfig,
    SweepConfig,
    TrainingConfig,
)
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
    StabilizerConfig(process_variance=[0.1, 0.2])  # type: ignore[arg-type] # as JSON gives a pair back
    StabilizerConfig(alpha=1, process_variance=(0.0, 0.0), uncertainty_threshold=float("inf"))


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (MediaConfig(), {"max_pixels": 0}, "media.max_pixels must be at least 1; got 0"),
        (MediaConfig(), {"max_bytes": -5}, "media.max_bytes must be at least 1; got -5"),
        (MediaConfig(), {"retries": -1}, "media.retries must be at least 0; got -1"),
        (SceneConfig(), {"passes": 0}, "scene.passes must be at least 1; got 0"),
        (FaceConfig(), {"views": 0}, "face.views must be at least 1; got 0"),
        (FaceConfig(), {"max_faces": 0}, "face.max_faces must be at least 1; got 0"),
        (FaceConfig(), {"detect_size": 0}, "face.detect_size must be at least 1; got 0"),
        (FaceConfig(), {"min_score": 2.0}, "face.min_score must be at least 0 and at most 1; got 2"),
        (FaceConfig(), {"min_score": float("nan")}, "face.min_score must be at least 0 and at most 1; got nan"),
        (ComputeConfig(), {"batch_size": 0}, "compute.batch_size must be at least 1; got 0"),
        (ComputeConfig(), {"face_chunk": 0}, "compute.face_chunk must be at least 1; got 0"),
        (ComputeConfig(), {"threads": 0}, "compute.threads must be at least 1; got 0"),
        (ComputeConfig(), {"actors": -2}, "compute.actors must be at least 1; got -2"),
        (ComputeConfig(), {"rows_per_block": 0}, "compute.rows_per_block must be at least 1; got 0"),
        (ComputeConfig(), {"gpu_fraction": 0.0}, "compute.gpu_fraction must be above 0 and at most 1; got 0"),
        (ComputeConfig(), {"gpu_fraction": 1.5}, "compute.gpu_fraction must be above 0 and at most 1; got 1.5"),
        (ComputeConfig(), {"device": "banana"}, "compute.device must be one of auto, cpu, cuda; got 'banana'"),
        (TrainingConfig(), {"batch_size": 0}, "training.batch_size must be at least 1; got 0"),
        (TrainingConfig(), {"patience": 0}, "training.patience must be at least 1; got 0"),
        (TrainingConfig(), {"depth_groups": 0}, "training.depth_groups must be at least 1; got 0"),
        (TrainingConfig(), {"epochs": -1}, "training.epochs must be at least 0; got -1"),
        (TrainingConfig(), {"unfrozen_epochs": -1}, "training.unfrozen_epochs must be at least 0; got -1"),
        (TrainingConfig(), {"learning_rate": 0.0}, "training.learning_rate must be above 0; got 0"),
        (TrainingConfig(), {"learning_rate": float("nan")}, "training.learning_rate must be above 0; got nan"),
        (TrainingConfig(), {"weight_decay": -0.1}, "training.weight_decay must be at least 0; got -0.1"),
        (TrainingConfig(), {"dropout": 1.0}, "training.dropout must be at least 0 and below 1; got 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_number_out_of_range_is_refused_with_option_range_and_value(
    config: object, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(config, **changes)  # type: ignore[type-var]
    assert str(caught.value) == message


def test_an_option_left_open_is_in_range() -> None:
    assert ComputeConfig(actors=None, face_chunk=None).actors is None
    assert TrainingConfig(dropout=None, learning_rate=None, unfrozen_epochs=0).dropout is None
