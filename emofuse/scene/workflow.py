"""Phase 0 from a manifest to a head file: features, folds, the final fit, the card."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from emofuse import schema
from emofuse.config import ComputeConfig, FaceConfig, MediaConfig
from emofuse.errors import DataError
from emofuse.scene.backbone import Tower, load_tower
from emofuse.scene.card import pack_hashes
from emofuse.scene.evaluation import OutOfFold, fit_in_closed_form, out_of_fold
from emofuse.scene.features import FeatureSet, FeatureSource, features_of
from emofuse.scene.head import Head
from emofuse.scene.head_file import save_head


@dataclass(frozen=True)
class TrainPlan:
    """What is trained, on what, and with what."""

    expert: Literal["scene", "face"] = "scene"
    tower: str = "embedded"
    weights: str | None = None
    preprocessing: str = "own"
    rows: Literal["train", "all"] = "train"
    licence: str = "as the training data"
    seed: int = 0
    media: MediaConfig = field(default_factory=MediaConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained head and what it reached."""

    head: Head
    card: dict[str, Any]
    folds: OutOfFold
    rows: FeatureSet

    def summary(self) -> str:
        """A few lines for a terminal."""
        figures = self.card["out_of_fold"]["figures"]
        lines = [
            f"{len(self.rows)} pictures in {len(set(self.rows.group))} groups; "
            f"features {'read' if self.rows.cached else 'computed'}"
        ]
        lines += [
            f"{axis}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()) for axis, values in figures.items()
        ]
        return "\n".join(lines)


def train(manifest: pa.Table, plan: TrainPlan, out: Path, cache: Path) -> Trained:
    """Train a head and write `out/head.safetensors`.

    Raises:
        DataError: if there are no labelled rows to train on.
        CheckpointError: if the tower's weights are missing or do not fit.
    """
    torch.set_num_threads(plan.compute.threads)
    tower = load_tower(plan.tower, plan.weights).to(memory_format=torch.channels_last)
    preprocessing = tower.own_preprocessing.chosen(plan.preprocessing)
    tower.normalise_with(preprocessing)
    source = FeatureSource(preprocessing, plan.expert, plan.face, plan.media, plan.compute)
    manifest = schema.check_manifest(manifest)
    features = features_of(manifest, tower, source, cache)
    rows = training_rows(features, plan.rows)
    folds = out_of_fold(rows, fit_in_closed_form)
    head = fit_in_closed_form(rows)
    card = make_card(plan, tower, source, rows, folds, manifest)
    save_head(out / "head.safetensors", head, card)
    return Trained(head, card, folds, rows)


def training_rows(features: FeatureSet, which: str) -> FeatureSet:
    """The labelled rows to fit on: of the train split, or all.

    Raises:
        DataError: if there are none, or they carry no groups.
    """
    wanted = np.isfinite(features.labels).all(1)
    if which == "train":
        wanted &= features.split == "train"
    if not wanted.any():
        raise DataError(f"no labelled row to train on among {len(features)} ({which} rows were asked for)")
    if any(group is None for group in features.group[wanted]):
        raise DataError("training needs a group for every row, so that no group straddles two folds")
    return features.rows(wanted)


def make_card(
    plan: TrainPlan, tower: Tower, source: FeatureSource, rows: FeatureSet, folds: OutOfFold, manifest: pa.Table
) -> dict[str, Any]:
    """The card of a head trained on `rows`."""
    about = schema.read_metadata(manifest.schema)
    return {
        "expert": plan.expert,
        "tower": {"name": tower.name, "weights": tower.weights, "sha256": tower.fingerprint(), "file": None},
        "preprocessing": source.preprocessing.to_json(),
        "preprocessing_choice": plan.preprocessing,
        "data": {**about, "rows": len(rows), "groups": sorted(set(rows.group)), "fingerprint": rows.fingerprint},
        "training_pictures": pack_hashes(rows.content_hash),
        "out_of_fold": folds.for_card(rows),
        "pooled_error": folds.pooled_error,
        "variance_scale": folds.variance_scale,
        "licence": plan.licence,
    }
