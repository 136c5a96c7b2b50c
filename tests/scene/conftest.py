"""A tiny data set of drawn pictures whose colours are their labels, and a tiny tower."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emofuse import schema
from emofuse.scene.features import FeatureSet

TINY = "timm:test_efficientnet"
"""A timm tower of 0.4 million parameters, for tests; its weights are random, by name."""


def draw(path: Path, valence: float, arousal: float, rng: np.random.Generator, side: int = 96) -> None:
    """A noisy picture, bluer with valence, redder with arousal."""
    colour = 127 + 100 * np.array([valence, 0, arousal])
    noise = rng.normal(0, 12, (side, side + 16, 3))
    cv2.imwrite(str(path), np.clip(colour + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 36 drawn pictures in 12 groups: 24 to train, 6 valid, 6 test."""
    folder = tmp_path_factory.mktemp("painted")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(36):
        valence, arousal = rng.uniform(-1, 1, 2)
        path = folder / f"{i}.png"
        draw(path, valence, arousal, rng)
        split = "train" if i < 24 else "valid" if i < 30 else "test"
        rows.append((f"p{i}", str(path), f"g{i // 3}", split, valence, arousal))
    names = ("sample_id", "uri", "group", "split", "valence", "arousal")
    table = pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)})
    pq.write_table(schema.check_manifest(table), folder / "manifest.parquet")
    return folder / "manifest.parquet"


def feature_set(count: int, width: int = 24, *, seed: int = 0, split: str = "train", start: int = 0) -> FeatureSet:
    """Random features with labels that a linear head can learn; groups of three."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=(width, 2)) * 0.1
    features = rng.normal(1, 2, (count, width)).astype(np.float32)
    labels = np.clip((features - 1) @ truth + rng.normal(0, 0.05, (count, 2)), -1, 1)
    names = np.array([f"{split}{i}" for i in range(start, start + count)], dtype=object)
    groups = np.array([f"{split}{i // 3}" for i in range(start, start + count)], dtype=object)
    splits = np.array([split] * count, dtype=object)
    return FeatureSet(names, names, names, groups, splits, labels, features, "fingerprint", False, {})


@pytest.fixture(scope="session")
def learnable() -> tuple[FeatureSet, FeatureSet]:
    """Rows to fit and rows to stop by."""
    return feature_set(90), feature_set(30, seed=1, split="valid")
