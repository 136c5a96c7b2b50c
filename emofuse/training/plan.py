"""What is trained, on what, and with what; and what a search over the options found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from emofuse.config import ComputeConfig, FaceConfig, MediaConfig, TrainingConfig
from emofuse.training.features import FeatureSet
from emofuse.training.lr_finder import RangeTest


@dataclass(frozen=True)
class TrainPlan:
    """What is trained, on what, and with what."""

    expert: Literal["scene", "face"] = "scene"
    backbone: str = "embedded"
    weights: str | None = None
    preprocessing: str = "own"
    rows: Literal["train", "all"] = "train"
    licence: str = "as the training data"
    seed: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True, eq=False)
class Search:
    """What a search over the training's options found.

    Attributes:
        config: the options it chose.
        trials: every trial's curve, one row for each trial and epoch.
        range_test: around whose valley it searched.
        record: for run.json: how many trials, how long, what was chosen.
    """

    config: TrainingConfig
    trials: pa.Table
    range_test: RangeTest
    record: dict[str, Any]


Searcher = Callable[[FeatureSet, FeatureSet, TrainingConfig, int], Search]
"""From training rows, valid rows, options and seed to what a search found; the search on Ray Tune is one."""
