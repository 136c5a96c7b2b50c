"""From an image to its face crops: detect in a small copy, choose, align from the given pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from emofuse.config import ComputeConfig, FaceConfig
from emofuse.experts.face.alignment import CROP_SIZE, align
from emofuse.experts.face.detectors import make_detector
from emofuse.experts.face.detectors.base import Face
from emofuse.experts.face.detectors.face_alignment import Fan
from emofuse.experts.face.landmarks import refine_landmarks


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of one image.

    Attributes:
        count: how many there are at or above the least score, in the person's box where one was given.
        faces: the k that are evaluated, the main one first; in pixels of the full-size upright image.
        crops: uint8 (k, 256, 256, 3), RGB.
        aligned: for each, whether its eyes were levelled by landmarks.
    """

    count: int
    faces: list[Face]
    crops: np.ndarray
    aligned: list[bool]


def main_score(face: Face, frame: np.ndarray) -> float:
    """How much a face is the main one of an image, or of a person's part of it.

    score × √(box area / frame area) × (0.7 + 0.3 (1 − d / d_max)), with d the distance of the box's centre
    from the frame's and d_max that of a corner.

    Args:
        face: in the pixels of the image.
        frame: (4,), left, top, right, bottom of the image or the part, in the same pixels.
    """
    half = (frame[2:] - frame[:2]) / 2
    distance = np.linalg.norm(face.centre - frame[:2] - half) / np.linalg.norm(half)
    return float(face.score * np.sqrt(face.area / (4 * np.prod(half))) * (0.7 + 0.3 * (1 - distance)))


def shrunken(rgb: np.ndarray, size: int) -> np.ndarray:
    """`rgb`, or a copy of it whose longer side is `size` pixels where it has more."""
    height, width = rgb.shape[:2]
    if max(height, width) <= size:
        return rgb
    factor = size / max(height, width)
    shape = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA)


class FaceFinder:
    """Finds and crops the faces of an image; what it finds depends on that image alone.

    It holds a detector and is not for several threads at once. A copy in another process loads its own.
    """

    def __init__(self, face: FaceConfig, compute: ComputeConfig | None = None) -> None:
        """Loads the detector, and FAN where the options ask for it, on the device of `compute`.

        Raises:
            ConfigError: for a detector that does not exist.
            CheckpointError: for weights that are missing or wrong.
        """
        self._config, self._compute = face, compute or ComputeConfig()
        self._detector = make_detector(face, self._compute)
        self._fan = Fan(self._detector.fan_reference, self._compute) if face.landmarks == "fan" else None

    def __reduce__(self) -> tuple[type[FaceFinder], tuple[FaceConfig, ComputeConfig]]:
        return FaceFinder, (self._config, self._compute)

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """All faces at or above the least score, in pixels of `rgb`, uint8 (H, W, 3); most confident first."""
        small = shrunken(rgb, self._config.detect_size)
        x, y = rgb.shape[1] / small.shape[1], rgb.shape[0] / small.shape[0]
        return [face.scaled(x, y) for face in self._detector(small) if face.score >= self._config.min_score]

    def choose(self, faces: list[Face], frame: np.ndarray) -> list[Face]:
        """The faces that are evaluated: the main one, or with `faces="all"` the main one and then the largest."""
        if not faces:
            return []
        main = max(faces, key=lambda face: main_score(face, frame))
        if self._config.faces == "main":
            return [main]
        others = sorted((face for face in faces if face is not main), key=lambda face: -face.area)
        return [main, *others][: self._config.max_faces]

    def __call__(self, rgb: np.ndarray, scale: float = 1.0, person: Sequence[float] | None = None) -> FoundFaces:
        """Find and crop the faces of one image, or of one person in it.

        Args:
            rgb: uint8 (H, W, 3), upright.
            scale: full-size pixels per pixel of `rgb`, where that was decoded at a reduced scale.
            person: left, top, right, bottom of a person in full-size pixels: only faces whose centre lies in
                it count, and the main one is the main one of this box.
        """
        found = self.detect(rgb)
        frame = np.array([0, 0, rgb.shape[1], rgb.shape[0]], np.float64)
        if person is not None:
            frame = np.asarray(person, np.float64) / scale
            found = [face for face in found if (frame[:2] <= face.centre).all() and (face.centre <= frame[2:]).all()]
        chosen = self.choose(found, frame)
        chosen = self._with_landmarks(rgb, chosen)
        return self._cut(rgb, len(found), chosen, scale)

    def cut(self, rgb: np.ndarray, found: FoundFaces, scale: float) -> FoundFaces:
        """The same faces cut from another decoding of the image, `scale` full-size pixels a pixel of its own."""
        return self._cut(rgb, found.count, [face.scaled(1 / scale, 1 / scale) for face in found.faces], scale)

    def _cut(self, rgb: np.ndarray, count: int, faces: list[Face], scale: float) -> FoundFaces:
        """Crops of `faces`, which are in pixels of `rgb`."""
        points = [face.landmarks for face in faces]
        crops = [align(rgb, face.box, landmarks) for face, landmarks in zip(faces, points, strict=True)]
        stacked = np.stack(crops) if crops else np.empty((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)
        aligned = [landmarks is not None for landmarks in points]
        return FoundFaces(count, [face.scaled(scale, scale) for face in faces], stacked, aligned)

    def _with_landmarks(self, rgb: np.ndarray, faces: list[Face]) -> list[Face]:
        if self._fan is not None:
            return self._fan(rgb, faces)
        if self._config.landmarks == "none":
            return [replace(face, landmarks=None) for face in faces]
        return [refine_landmarks(rgb, face, self._detector) for face in faces]
