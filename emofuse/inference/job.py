"""What is predicted, from where to where; knows no network."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from emofuse.config import InferenceConfig
from emofuse.inference.resources import Plan


@dataclass(frozen=True)
class Job:
    """What is predicted, from where to where.

    Attributes:
        manifest: address of a Parquet manifest.
        predictions: folder that takes the predictions.
        config: the options.
        plan: how it is spread out.
        metadata: of the data set and the experts, written into every file.
        marker: name of the file that stands in the folder while this job writes to it; readers pass it over.
    """

    manifest: str
    predictions: str
    config: InferenceConfig
    plan: Plan
    metadata: dict[str, Any]
    marker: str = field(default_factory=lambda: f"_writing-{uuid.uuid4().hex[:12]}")
