"""Landmarks looked for again where the face is large.

A detector made for small faces draws their eyes nearly level whatever the tilt: of a known rotation of real
images YuNet's landmarks show about a third. In an upright, enlarged crop they show nearly all of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emofuse.experts.face.alignment import align, eye_centres, from_crop, to_crop
from emofuse.experts.face.detectors.base import Detector, Face

ROUNDS = ((448,), (256, 448))
"""Sides in pixels of the crops of each round. The second round's crops are turned by what the first one showed;
landmarks of two sizes are averaged, since either size has errors of its own."""
MIN_OVERLAP = 0.3
"""Intersection over union from which what is found there is the same face."""
MIN_EYE_DISTANCE = 0.2
"""Minimum distance of the eyes as a part of the box's shorter side: seen from the side, their line says nothing."""


def refine_landmarks(rgb: np.ndarray, face: Face, detector: Detector) -> Face:
    """The face with landmarks from an enlarged crop of it, or as it is where none are found there.

    Args:
        rgb: uint8 (H, W, 3).
        face: in pixels of `rgb`; without landmarks it comes back as it is.
        detector: one that gives five landmarks.
    """
    for sizes in ROUNDS:
        if face.landmarks is None:
            break
        seen = [_redetect(rgb, face, face.landmarks, detector, size) for size in sizes]
        points = [each for each in seen if each is not None]
        if not points:
            break
        face = replace(face, landmarks=np.mean(points, axis=0).astype(np.float32))
    return face


def _redetect(rgb: np.ndarray, face: Face, landmarks: np.ndarray, detector: Detector, size: int) -> np.ndarray | None:
    """Landmarks (5, 2) from a crop that `landmarks` have levelled; None where they cannot be relied on."""
    corners = to_crop(face.box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2), face.box, landmarks, size=size)
    expected = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    seen = detector(align(rgb, face.box, landmarks, size=size))
    found = max(seen, key=lambda other: overlap(other.box, expected), default=None)
    if found is None or found.landmarks is None or overlap(found.box, expected) < MIN_OVERLAP:
        return None
    right, left = eye_centres(found.landmarks)
    if np.linalg.norm(left - right) < MIN_EYE_DISTANCE * (found.box[2:] - found.box[:2]).min():
        return None
    return from_crop(found.landmarks, face.box, landmarks, size=size)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,)."""
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner))
