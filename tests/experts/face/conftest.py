"""EmoNet checkpoints, written once a session, and a photograph with a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experts.face.checkpoints import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An 8-class EmoNet checkpoint in the published form, with regenerable weights."""
    return write_checkpoint(tmp_path_factory.mktemp("emonet") / "emonet_8.pth")


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """Eileen Collins, uint8 (512, 512, 3): one face, at about x 224, y 118, some 100 pixels high (NASA)."""
    from skimage import data

    return data.astronaut()
