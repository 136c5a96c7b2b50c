"""What is perceived, from where to where; knows no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emofuse.config import PerceiveConfig
from emofuse.pipeline.resources import Plan


@dataclass(frozen=True)
class Job:
    """What is perceived, from where to where.

    Attributes:
        manifest: address of a Parquet manifest.
        predictions: folder that takes the predictions.
        config: the options.
        plan: how it is spread out.
        metadata: of the data set and the experts, written into every file.
    """

    manifest: str
    predictions: str
    config: PerceiveConfig
    plan: Plan
    metadata: dict[str, Any]
