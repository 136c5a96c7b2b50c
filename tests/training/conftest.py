"""A tiny data set of drawn images whose colours are their labels, and features that a head can learn from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from emofuse.training.features import FeatureSet


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 36 drawn images in 12 groups: 24 to train, 6 valid, 6 test."""
    spec = importlib.util.spec_from_file_location("small_run", Path(__file__).with_name("small_run.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.paint(tmp_path_factory.mktemp("painted"))
    return made


def feature_set(count: int, width: int = 24, *, seed: int = 0, split: str = "train", start: int = 0) -> FeatureSet:
    """Random features with labels that a linear head can learn; groups of three."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(size=(width, 2)) * 0.1
    features = rng.normal(1, 2, (count, width)).astype(np.float32)
    labels = np.clip((features - 1) @ truth + rng.normal(0, 0.05, (count, 2)), -1, 1)
    names = np.array([f"{split}{i}" for i in range(start, start + count)], dtype=object)
    groups = np.array([f"{split}{i // 3}" for i in range(start, start + count)], dtype=object)
    splits, nobody = np.array([split] * count, dtype=object), np.full(count, None)
    return FeatureSet(names, names, nobody, names, groups, splits, labels, features, "fingerprint", False, {})


@pytest.fixture(scope="session")
def learnable() -> tuple[FeatureSet, FeatureSet]:
    """Rows to fit and rows to stop by."""
    return feature_set(90), feature_set(30, seed=1, split="valid")
