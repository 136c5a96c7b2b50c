"""Small data sets in their published forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeImage = Callable[..., Path]


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Write an image below `tmp_path`; another `look` gives other bytes, the same gives the same."""

    def make(path: str, look: int | None = None) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        make.count += 1  # type: ignore[attr-defined]
        rng = np.random.default_rng(make.count if look is None else 10_000 + look)  # type: ignore[attr-defined]
        Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(file)
        return file

    make.count = 0  # type: ignore[attr-defined]
    return make
