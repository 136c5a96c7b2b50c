from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.face.alignment import to_crop
from emofuse.experts.face.detectors import check_detector, make_detector
from emofuse.experts.face.finder import FaceFinder
from emofuse.inference.decode import Decoder
from emofuse.io.weights import KNOWN, cache_folder, sha256_of
from tests.experts.face.checkpoints import philox_state


@pytest.fixture(scope="module")
def torch_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Torch's cache with SFD and FAN in it: real files of the real networks, with weights that anyone can make."""
    from face_alignment.detection.blazeface.net_blazeface import BlazeFace
    from face_alignment.detection.retinaface.net_retinaface import RetinaFace, cfg_mnet
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models.fan import FAN

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("EMOFUSE_OFFLINE", "1")
        folder = cache_folder("torch")
        folder.mkdir(parents=True)
        assert folder == Path(torch.hub.get_dir()) / "checkpoints"
        torch.save(philox_state(s3fd().state_dict()), folder / KNOWN["sfd"].file)
        torch.save(philox_state(FAN(4).state_dict()), folder / KNOWN["fan"].file)
        blaze, retina = BlazeFace().state_dict(), RetinaFace(cfg=cfg_mnet).state_dict()
        torch.save(philox_state(blaze), folder / KNOWN["blazeface"].file)
        np.save(folder / KNOWN["blazeface_anchors"].file, np.full((896, 4), 0.5, np.float32))
        # As published: from several GPUs at once, and from before batch normalisation counted its batches.
        old = {f"module.{name}": value for name, value in philox_state(retina).items() if "num_batches" not in name}
        torch.save(old, folder / KNOWN["retinaface"].file)
        yield folder


@pytest.mark.parametrize(
    "face",
    [FaceConfig(detector=name) for name in ("sfd", "blazeface", "retinaface")] + [FaceConfig(landmarks="fan")],
    ids=["sfd", "blazeface", "retinaface", "fan"],
)
def test_the_device_of_the_options_is_that_of_every_network_that_finds_faces(
    torch_cache: Path, monkeypatch: pytest.MonkeyPatch, face: FaceConfig
) -> None:
    """On a machine with a GPU, which is only claimed here: what went to it would fail."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    Decoder(InferenceConfig(face=face, compute=ComputeConfig(device="cpu")))
    with pytest.raises((RuntimeError, AssertionError, CheckpointError), match=r"(?i)cuda|nvidia"):
        Decoder(InferenceConfig(face=face, compute=ComputeConfig(device="cuda")))


@pytest.mark.parametrize("name", ["sfd", "blazeface", "retinaface", "fan"])
def test_a_networks_weights_are_held_to_its_names_and_numbers(torch_cache: Path, tmp_path: Path, name: str) -> None:
    """Checked without the network being made, as before a run begins."""
    face = FaceConfig(landmarks="fan") if name == "fan" else FaceConfig(detector=name)
    check_detector(face)
    file = torch_cache / KNOWN[name].file
    good = file.read_bytes()
    state = torch.load(file, weights_only=True)
    first = next(iter(state))
    changed = {"lacks": {**state}, "NaN or infinity": {**state, first: state[first] * torch.nan}}
    changed["lacks"].pop(first)
    try:
        for said, tensors in changed.items():
            torch.save(tensors, file)
            with pytest.raises(CheckpointError, match=said) as caught:
                check_detector(face)
            assert "\n" not in str(caught.value)
    finally:
        file.write_bytes(good)


@pytest.mark.slow
def test_sfd_runs_through_the_adapter(torch_cache: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    finder = FaceFinder(FaceConfig(detector="sfd", min_score=0.3))
    faces = finder.detect(image)
    assert faces, "these weights see faces in noise"
    assert all(0.3 <= face.score <= 1 and face.landmarks is None for face in faces)
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    again = FaceFinder(FaceConfig(detector="sfd", min_score=0.3)).detect(image)
    assert all(np.array_equal(a.box, b.box) for a, b in zip(faces, again, strict=True))


def test_sfd_is_the_packages_own(torch_cache: Path) -> None:
    from face_alignment.detection.sfd import FaceDetector

    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    own = FaceDetector(device="cpu", path_to_detector=str(torch_cache / KNOWN["sfd"].file), filter_threshold=0.3)
    expected = sorted((np.asarray(row, np.float32) for row in own.detect_from_image(image)), key=lambda row: -row[4])
    found = make_detector(FaceConfig(detector="sfd", min_score=0.3))(image)
    assert len(found) == len(expected) > 0
    assert found[0].box == pytest.approx(expected[0][:4])


@pytest.mark.slow
def test_fan_gives_68_landmarks_that_level_the_eyes(torch_cache: Path, astronaut: np.ndarray) -> None:
    finder = FaceFinder(FaceConfig(landmarks="fan"))
    found = finder(astronaut)
    face = found.faces[0]
    assert found.aligned == [True]
    assert face.landmarks is not None
    assert face.landmarks.shape == (68, 2)
    points = to_crop(face.landmarks, face.box, face.landmarks)
    assert points[36:42, 1].mean() == pytest.approx(points[42:48, 1].mean(), abs=1e-2)
    assert np.array_equal(finder(astronaut).crops, found.crops)


def test_a_face_of_a_few_pixels_has_no_fan_landmarks(torch_cache: Path, astronaut: np.ndarray) -> None:
    from emofuse.experts.face.detectors.base import Face
    from emofuse.experts.face.detectors.face_alignment import Fan

    (face,) = Fan(195)(astronaut, [Face(np.array([3, 3, 9, 9], np.float32), 0.9)])
    assert face.landmarks is None


def test_missing_weights_say_where_they_are_to_be_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("EMOFUSE_OFFLINE", "1")
    for config in (FaceConfig(detector="sfd"), FaceConfig(detector="retinaface"), FaceConfig(landmarks="fan")):
        with pytest.raises(CheckpointError, match=r"EMOFUSE_OFFLINE forbids downloads; put https://.* at ") as caught:
            FaceFinder(config)
        assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "sfd.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "sfd.pth").read_bytes()[:100])
    for name in ("sfd.pth", "cut.pth"):
        file = tmp_path / name
        with pytest.raises(CheckpointError, match=r"another hash: expected sha256 619a316812.*if this file is meant"):
            make_detector(FaceConfig(detector="sfd", detector_weights=str(file)))
        said = {
            "sfd.pth": "does not hold the weights of sfd: it lacks .*s3fd-619a316812.pth",
            "cut.pth": "is truncated",
        }
        with pytest.raises(CheckpointError, match=f"{name}.*{said[name]}"):
            make_detector(FaceConfig(detector="sfd", detector_weights=f"{file}#sha256={sha256_of(file)}"))


def test_a_detector_that_lacks_its_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache_folder("torch").mkdir(parents=True)
    (cache_folder("torch") / KNOWN["scrfd"].file).write_bytes(b"onnx")
    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        make_detector(FaceConfig(detector="scrfd"))
