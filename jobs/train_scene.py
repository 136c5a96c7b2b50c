#!/usr/bin/env python
"""Phase 0: a manifest's pictures → features → a head with its card, for eval_fusion.py --scene.head."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from rich.console import Console

from emofuse.cli import run_job
from emofuse.config import ComputeConfig, FaceConfig, MediaConfig
from emofuse.scene.workflow import TrainPlan, train


@dataclass(frozen=True)
class Options:
    """Options of train_scene.py."""

    manifest: Path
    """The manifest of prepare_dataset.py, with labels."""
    out: Path
    """The run directory; head.safetensors goes there."""
    backbone: str = "embedded"
    """embedded | timm:NAME | open_clip:NAME (as in open_clip:ViT-B-32)."""
    weights: str | None = None
    """A weights file, or a pretrained tag of the backbone's hub; none for the embedded backbone."""
    preprocessing: Literal["own", "squash", "crop"] = "own"
    """The backbone's own, or its own with another geometry."""
    input: Literal["scene", "face"] = "scene"
    """Train on whole pictures, or on their main faces."""
    rows: Literal["train", "all"] = "train"
    """Fit on the train split, or on all labelled rows (for shipping; held-out figures then come from folds alone)."""
    licence: str = "as the training data"
    """The licence note of the card."""
    cache: Path | None = None
    """Folder of cached features; by default OUT/features."""
    seed: int = 0
    """Fixes everything that is drawn."""
    media: MediaConfig = field(default_factory=MediaConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def main(options: Options) -> None:
    """Train, and say what was reached."""
    console = Console()
    plan = TrainPlan(
        expert=options.input, tower=options.backbone, weights=options.weights, preprocessing=options.preprocessing,
        rows=options.rows, licence=options.licence, seed=options.seed,
        media=options.media, face=options.face, compute=options.compute,
    )  # fmt: skip
    result = train(pq.read_table(options.manifest), plan, options.out, options.cache or options.out / "features")
    console.print(result.summary())
    console.print(f"[bold]{options.out / 'head.safetensors'}[/bold]")


if __name__ == "__main__":
    run_job(main, Options, __doc__ or "")
