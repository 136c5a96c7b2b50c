from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.experts.face.alignment import CROP_SIZE, align, crop_matrix, crop_square, eye_angle, to_crop

FIVE = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.6], [0.4, 0.75], [0.6, 0.75]], np.float32)


def turned(points: np.ndarray, degrees: float, centre: np.ndarray) -> np.ndarray:
    a = math.radians(degrees)
    return (points - centre) @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) + centre


def sixty_eight(rng: np.random.Generator) -> np.ndarray:
    points = rng.uniform(100, 200, (68, 2))
    points[36:42] = [120, 140]
    points[42:48] = [170, 160]
    return points.astype(np.float32)


@given(st.floats(-179, 179), st.floats(20, 900), st.floats(-50, 500), st.floats(-50, 500))
@settings(max_examples=60, deadline=None)
def test_five_landmarks_level_the_eyes_wherever_the_face_is(degrees: float, size: float, x: float, y: float) -> None:
    box = np.array([x, y, x + size, y + size], np.float32)
    points = turned(FIVE * size + [x, y], degrees, (box[:2] + box[2:]) / 2)
    right, left = to_crop(points, box, points)[:2]
    assert right[1] == pytest.approx(left[1], abs=1e-3)
    assert right[0] < left[0]
    assert eye_angle(points) == pytest.approx(math.radians(degrees), abs=1e-4)


def test_sixty_eight_landmarks_level_the_eyes_too() -> None:
    points = sixty_eight(np.random.default_rng(0))
    box = np.array([90, 90, 210, 210], np.float32)
    eyes = to_crop(points, box, points)
    assert eyes[36:42].mean(axis=0)[1] == pytest.approx(eyes[42:48].mean(axis=0)[1], abs=1e-3)
    assert math.degrees(eye_angle(points)) == pytest.approx(math.degrees(math.atan2(20, 50)), abs=1e-4)


def test_other_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="5 or 68"):
        eye_angle(np.zeros((98, 2)))


def test_sixty_eight_landmarks_give_the_published_square() -> None:
    # Toisoul et al.: side (200 / 220) (w + h) about the tight box of the landmarks; about 1.82 its mean side.
    points = np.tile(np.array([50, 60], np.float32), (68, 1))
    points[0], points[16] = (10, 20), (110, 140)
    centre, side = crop_square(np.array([0, 0, 1, 1.0]), points)
    assert centre == pytest.approx([60, 80])
    assert side == pytest.approx(200 / 220 * (100 + 120))
    assert side / 110 == pytest.approx(1.82, abs=0.002)


def test_a_detectors_box_is_padded_by_a_fifth_beyond_each_side() -> None:
    centre, side = crop_square(np.array([10, 20, 110, 140.0]), None)
    assert centre == pytest.approx([60, 80])
    assert side == pytest.approx(120 * 1.4)


def test_a_square_of_the_crops_own_size_is_copied_bit_by_bit() -> None:
    image = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    half = CROP_SIZE / 1.4 / 2
    crop = align(image, np.array([178 - half, 148 - half, 178 + half, 148 + half]))
    assert np.array_equal(crop, image[20 : 20 + CROP_SIZE, 50 : 50 + CROP_SIZE])


def test_beyond_the_border_the_image_is_reflected() -> None:
    image = np.random.default_rng(2).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    half = CROP_SIZE / 1.4 / 2
    crop = align(image, np.array([28 - half, 148 - half, 28 + half, 148 + half]))
    assert np.array_equal(crop[:, 100:], image[20 : 20 + CROP_SIZE, : CROP_SIZE - 100])
    assert np.array_equal(crop[:, :100], image[20 : 20 + CROP_SIZE, 100:0:-1])


def test_a_mark_in_the_image_lands_where_to_crop_says() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    box = np.array([200, 100, 360, 300], np.float32)
    points = turned(FIVE * [160, 200] + [200, 100], 25, np.array([280.0, 200.0])).astype(np.float32)
    cv2.circle(image, tuple(int(v) for v in points[2]), 6, (255, 255, 255), -1)
    crop = align(image, box, points)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    expected = to_crop(points[2:3].astype(int) + 0.5, box, points)[0]
    assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(expected, abs=0.6)


def test_a_large_face_does_not_alias() -> None:
    # Stripes of one pixel are far beyond what 256 samples over 2,048 pixels can show: their mean is left.
    image = np.zeros((2400, 2400, 3), np.uint8)
    image[:, ::2] = 255
    half = 2048 / 1.4 / 2
    crop = align(image, np.array([1200 - half, 1200 - half, 1200 + half, 1200 + half]))
    assert np.abs(crop.astype(int) - 127.5).max() <= 2


def test_without_landmarks_nothing_is_rotated() -> None:
    matrix = crop_matrix(np.array([0, 0, 100, 100.0]), None)
    assert matrix[0, 1] == matrix[1, 0] == 0
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(140 / CROP_SIZE)
