"""The proof on photographs of people, on made-up features: nothing of an evaluated row enters its own estimate."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
PROOF = Path(__file__).resolve().parents[1] / "proof" / "fusion_on_oasis.py"


@pytest.fixture(scope="module")
def proof():
    spec = importlib.util.spec_from_file_location("proof_fusion_on_oasis", PROOF)
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def made_up(proof, n=240, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.clip(0.35 * rng.normal(size=(n, 2)), -1, 1)
    scene = np.column_stack([labels + 0.3 * rng.normal(size=(n, 2)), rng.normal(size=(n, 6))]).astype(np.float32)
    face = np.column_stack([labels + 0.3 * rng.normal(size=(n, 2)), rng.normal(size=(n, 4))]).astype(np.float32)
    face[::3] = np.nan
    groups = np.array([f"group {i // 3}" for i in range(n)])
    return proof.Images(labels, groups, np.arange(n) % 4 > 0, scene, face)


def test_a_face_that_knows_more_is_used(proof):
    lines = proof.run(made_up(proof), 1)
    chosen = [each for each in lines if "chosen" in each["system"] and each["subset"] == "Person with a face"]
    assert len(chosen) == 2
    for line in chosen:
        assert line["within_margin"]
        assert line["difference"] < 0
        assert line["face_share"] > proof.SCENE_ONLY


def test_labels_of_evaluated_rows_change_no_estimate(proof):
    images = made_up(proof, 160)
    evaluated, systems, share, chosen = next(iter(proof.folds(images, 1)))
    held_groups = np.unique(images.groups[evaluated])
    held = np.isin(images.groups, held_groups)
    labels = images.labels.copy()
    labels[held] = np.random.default_rng(1).uniform(-1, 1, (held.sum(), 2))
    other = proof.Images(labels, images.groups, images.person, images.scene, images.face)
    again, systems_again, share_again, chosen_again = next(iter(proof.folds(other, 1)))
    np.testing.assert_array_equal(evaluated, again)
    assert chosen == chosen_again
    np.testing.assert_array_equal(share, share_again)
    for name, mean in systems.items():
        np.testing.assert_array_equal(mean, systems_again[name])
