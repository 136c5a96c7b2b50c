"""From a box and landmarks to an upright 256 × 256 crop, in one warp from the pixels given.

A coordinate is continuous: pixel i covers [i, i + 1), so a box [0, 0, W, H] is the whole image.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

CROP_SIZE = 256
"""Side of a face crop in pixels."""
DETECTOR_PADDING = 0.2
"""Part of a detector's box that is added beyond each of its four sides."""
LANDMARK_SCALE = 200 / 220
"""The published crop's side as a part of width + height of the tight box of 68 landmarks."""
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
"""The subject's right and left eye among the 68 landmarks."""
_MAX_OVERSAMPLING = 8
_ROUNDING = 1e-3


def eye_centres(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The subject's right and left eye, each (2,) as x, y.

    Args:
        landmarks: (5, 2) as right eye, left eye, nose, right and left corner of the mouth (the subject's
            right and left), or (68, 2) in the order of the 300-W annotation.

    Raises:
        ValueError: for any other number of landmarks.
    """
    if landmarks.shape == (5, 2):
        return landmarks[0], landmarks[1]
    if landmarks.shape == (68, 2):
        return landmarks[RIGHT_EYE].mean(axis=0), landmarks[LEFT_EYE].mean(axis=0)
    raise ValueError(f"expected 5 or 68 landmarks, shape (5, 2) or (68, 2); got {landmarks.shape}")


def eye_angle(landmarks: np.ndarray) -> float:
    """The eye line's angle in radians, clockwise from level as the image is seen; 0 for level eyes."""
    right, left = eye_centres(landmarks)
    return math.atan2(float(left[1] - right[1]), float(left[0] - right[0]))


def crop_square(box: np.ndarray, landmarks: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Centre (2,) and side of the square that is cropped, in the pixels of `box`.

    With 68 landmarks it is the published crop about their tight box. A detector's box already holds
    forehead and chin, so it is padded by a fifth beyond each side instead, and squared by its longer side.

    Source: Toisoul et al. 2021, the published evaluation code (200 / 220 of width + height).
    """
    if landmarks is not None and len(landmarks) == 68:
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        return (low + high) / 2, max(float(LANDMARK_SCALE * (high - low).sum()), 1.0)
    size = np.maximum(box[2:] - box[:2], 1.0)
    return (box[:2] + box[2:]) / 2, float((1 + 2 * DETECTOR_PADDING) * size.max())


def crop_matrix(box: np.ndarray, landmarks: np.ndarray | None, size: int = CROP_SIZE) -> np.ndarray:
    """The (2, 3) map from a crop's coordinates to the image's: level eyes, turned about the crop's centre."""
    centre, side = crop_square(np.asarray(box, np.float64), landmarks)
    angle = 0.0 if landmarks is None else eye_angle(landmarks)
    scale = side / size
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([turn, centre - turn @ np.full(2, size / 2)])


def align(
    rgb: np.ndarray, box: np.ndarray, landmarks: np.ndarray | None = None, *, size: int = CROP_SIZE
) -> np.ndarray:
    """The face crop, uint8 (size, size, 3).

    What lies beyond the border is reflected. A face larger than the crop is warped onto a grid of several
    samples per crop pixel, which are then averaged, so that nothing aliases.

    Args:
        rgb: uint8 (H, W, 3).
        box: (4,) left, top, right, bottom in pixels of `rgb`; may reach beyond its border.
        landmarks: (5, 2) or (68, 2) in pixels of `rgb`; None leaves the crop unrotated.
        size: the crop's side in pixels.
    """
    matrix = crop_matrix(box, landmarks, size)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    samples = min(max(math.ceil(scale - _ROUNDING), 1), _MAX_OVERSAMPLING)
    matrix[:, :2] /= samples
    # cv2 counts from pixel centres: the sample at index u has coordinate u + 1/2, and so has the source.
    matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5) - 0.5
    side = size * samples
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(rgb, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return warped if samples == 1 else cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA)


def to_crop(points: np.ndarray, box: np.ndarray, landmarks: np.ndarray | None, *, size: int = CROP_SIZE) -> np.ndarray:
    """Points (N, 2) of the image in the coordinates of the crop that `align` makes, (N, 2)."""
    matrix = crop_matrix(box, landmarks, size)
    return np.linalg.solve(matrix[:, :2], (np.asarray(points, np.float64) - matrix[:, 2]).T).T


def from_crop(
    points: np.ndarray, box: np.ndarray, landmarks: np.ndarray | None, *, size: int = CROP_SIZE
) -> np.ndarray:
    """Points (N, 2) of the crop that `align` makes in the coordinates of the image, (N, 2)."""
    matrix = crop_matrix(box, landmarks, size)
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
