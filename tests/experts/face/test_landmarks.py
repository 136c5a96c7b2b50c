from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from emofuse.config import FaceConfig
from emofuse.experts.face.alignment import eye_angle, from_crop, to_crop
from emofuse.experts.face.detectors.base import Face
from emofuse.experts.face.finder import FaceFinder
from emofuse.experts.face.landmarks import overlap, refine_landmarks

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
BOX = np.array([60, 50, 140, 150], np.float32)
POINTS = np.array([[80, 80], [120, 100], [95, 110], [75, 120], [105, 135]], np.float32)


class Dots:
    """A detector that finds one face, whose landmarks are five coloured dots wherever they are."""

    torch_network = False
    fan_reference = 165

    def __init__(self, *, shift: float = 0.0) -> None:
        self.shift = shift

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        points = []
        for colour in COLOURS:
            rows, columns = np.nonzero((np.abs(rgb.astype(int) - colour) < 60).all(axis=2))
            if not len(rows):
                return []
            points.append([columns.mean() + 0.5, rows.mean() + 0.5])
        middle, half = np.mean(points, axis=0) + self.shift, 130
        return [Face(np.array([*(middle - half), *(middle + half)], np.float32), 0.9, np.array(points, np.float32))]


def drawn(points: np.ndarray) -> np.ndarray:
    image = np.zeros((200, 200, 3), np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        cv2.circle(image, (int(x), int(y)), 3, colour, -1)
    return image


def test_landmarks_move_to_where_the_enlarged_crop_shows_them() -> None:
    level = POINTS.copy()
    level[:2, 1] = 90
    found = refine_landmarks(drawn(POINTS), Face(BOX, 0.8, level), Dots())
    assert found.landmarks is not None
    assert found.landmarks == pytest.approx(POINTS + 0.5, abs=0.7)
    assert (found.score, found.box.tolist()) == (0.8, BOX.tolist())
    assert math.degrees(eye_angle(found.landmarks)) == pytest.approx(math.degrees(math.atan2(20, 40)), abs=1)


def test_without_landmarks_nothing_is_looked_for() -> None:
    face = Face(BOX, 0.8)
    assert refine_landmarks(drawn(POINTS), face, Dots()) is face


@pytest.mark.parametrize(
    ("image", "detector"),
    [(np.zeros((200, 200, 3), np.uint8), Dots()), (drawn(POINTS), Dots(shift=300.0))],
    ids=["nothing found", "another face"],
)
def test_what_cannot_be_found_again_stays(image: np.ndarray, detector: Dots) -> None:
    face = Face(BOX, 0.8, POINTS)
    assert refine_landmarks(image, face, detector) is face


def test_a_face_from_the_side_is_not_turned_by_its_eyes() -> None:
    side = POINTS.copy()
    side[1] = side[0] + [2, 14]
    face = Face(BOX, 0.8, POINTS)
    assert refine_landmarks(drawn(side), face, Dots()) is face


def test_to_and_from_a_crop_are_inverse() -> None:
    there = to_crop(POINTS, BOX, POINTS, size=384)
    assert from_crop(there, BOX, POINTS, size=384) == pytest.approx(POINTS, abs=1e-4)


def test_overlap_is_intersection_over_union() -> None:
    a, b = np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])
    assert overlap(a, a) == 1
    assert overlap(a, b) == pytest.approx(1 / 3)
    assert overlap(a, b + 5) == 0


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_yunet_takes_back_a_known_rotation(shared_data: Path, astronaut: np.ndarray, degrees: float) -> None:
    weights = shared_data / "weights" / "face_detection_yunet_2023mar.onnx"
    finder = FaceFinder(FaceConfig(detector="yunet", detector_weights=str(weights)))
    turn = cv2.getRotationMatrix2D((224, 118), -degrees, 1.0)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REFLECT_101)
    angles = [finder(image).faces[0].landmarks for image in (astronaut, turned)]
    upright, after = (math.degrees(eye_angle(points)) for points in angles if points is not None)
    assert after - upright == pytest.approx(degrees, abs=4)
