"""What every face detector takes and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from emofuse.config import ComputeConfig, FaceConfig


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Attributes:
        box: float32 (4,), left, top, right, bottom in pixels; may reach beyond the image's border.
        score: the detector's confidence, 0 to 1.
        landmarks: float32 (5, 2) as right eye, left eye, nose, right and left corner of the mouth, or (68, 2);
            x, y in pixels; None where there are none.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

    def scaled(self, x: float, y: float) -> Face:
        """The face in an image that is `x` times as wide and `y` times as high."""
        factors = np.array([x, y], np.float32)
        landmarks = None if self.landmarks is None else self.landmarks * factors
        return Face(self.box * np.tile(factors, 2), self.score, landmarks)

    @property
    def centre(self) -> np.ndarray:
        """x, y of the box's centre in pixels; (2,)."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def area(self) -> float:
        """The box's area in square pixels."""
        return float(np.prod(np.maximum(self.box[2:] - self.box[:2], 0)))


class Detector(Protocol):
    """Finds faces; the result depends on the image alone. A subclass without options or files needs only the call."""

    torch_network: ClassVar[bool]
    """Whether it is a torch network, which wants a pool of its own with a share of the GPU."""
    fan_reference: ClassVar[int]
    """Side of a box, in pixels, at which FAN sees a face at its own scale."""

    @classmethod
    def make(cls, face: FaceConfig, compute: ComputeConfig) -> Detector:
        """The detector of the options; a torch network on their device.

        Raises:
            ConfigError: if it is not to be had on this platform or device.
            CheckpointError: if its weights are missing or not its own.
        """
        del face, compute  # one that takes no options
        return cls()

    @classmethod
    def check(cls, face: FaceConfig) -> Any:
        """Check package and weights without making one.

        Raises:
            ConfigError: as `make`.
            CheckpointError: as `make`.
        """

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        """The faces of an image, uint8 (H, W, 3), in its pixels, most confident first."""


def in_order(faces: list[Face]) -> list[Face]:
    """The faces, most confident first; ties by their boxes, so that the order is always the same."""
    return sorted(faces, key=lambda face: (-face.score, *face.box.tolist()))
