"""What a run's experts are is told from their files, before a run directory is made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.config import FaceConfig, InferenceConfig
from emofuse.errors import CheckpointError
from emofuse.experts.face.emonet import EmoNet
from emofuse.inference.preflight import describe
from emofuse.io.weights import sha256_of
from tests.experts.face.checkpoints import emonet_state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("emonet") / "emonet_8.pth"
    torch.save(emonet_state(), path)
    return path


def emonet(checkpoint: object) -> InferenceConfig:
    return InferenceConfig(face=FaceConfig(expert="emonet", checkpoint=str(checkpoint)))


def test_a_checkpoint_may_be_named_by_its_address_and_hash(checkpoint: Path) -> None:
    for address in (checkpoint, checkpoint.as_uri(), f"{checkpoint}#sha256={sha256_of(checkpoint)}"):
        assert describe(emonet(address)).weights["face"] == sha256_of(checkpoint)


def test_a_checkpoint_is_checked_and_no_network_is_filled(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def filled(*_: object, **__: object) -> None:
        pytest.fail("a network was given weights")

    monkeypatch.setattr(EmoNet, "load_state_dict", filled)
    describe(emonet(checkpoint))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conv1.bias": torch.full((64,), torch.nan)}, "NaN or infinity in conv1.bias"),
        ({"conv1.bias": torch.zeros(63)}, r"other shapes in conv1.bias \(63,\) instead of \(64,\)"),
        ({"extra": torch.zeros(1)}, "has unknown extra"),
    ],
)
def test_what_is_no_emonet_is_refused(
    checkpoint: Path, tmp_path: Path, change: dict[str, torch.Tensor], said: str
) -> None:
    torch.save({**torch.load(checkpoint, weights_only=True), **change}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=said):
        describe(emonet(tmp_path / "other.pth"))


def test_other_weights_of_a_detector_are_other_weights_of_the_run(tmp_path: Path) -> None:
    """Named by address and hash, as a user's own file has to be."""
    from face_alignment.detection.sfd.net_s3fd import s3fd

    found = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        state = {
            name: torch.from_numpy(rng.normal(size=tuple(value.shape)).astype(np.float32))
            for name, value in s3fd().state_dict().items()
        }
        file = tmp_path / f"{seed}.pth"
        torch.save(state, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        face = FaceConfig(detector="sfd", detector_weights=f"{file}#sha256={digest}")
        found.append(describe(InferenceConfig(face=face)).weights["face.detector"])
        assert found[-1] == digest
    assert found[0] != found[1]
