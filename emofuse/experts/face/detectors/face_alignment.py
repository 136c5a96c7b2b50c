"""The detectors and the 68-landmark network of the `face-alignment` package, behind our own interface.

Their weights are fetched by `emofuse.io.weights` into torch's cache, where the package looks for them too, and are
read strictly (`emofuse.io.checkpoints`) before the package reads them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.face.detectors.base import Face, in_order
from emofuse.io.weights import KNOWN, locate

FAN_POINTS = 68
FAN_MIN_SIDE = 8
"""Minimum side of a box in which FAN looks for landmarks, in pixels."""
_FILE = "path_to_detector"
_PREFIX = "module."
_COUNTER = "num_batches_tracked"
"""An entry that batch normalisation has had since torch 0.4.1; older files lack it, and nothing depends on it."""


class FaceAlignmentDetector:
    """A detector of `face-alignment`: boxes and scores, no landmarks.

    The package's dlib detector is left out: it gives no scores, and the package deprecates it.

    Attributes:
        name: of its module below `face_alignment.detection`, and of its weights in `weights.KNOWN`.
        files: keys of `weights.KNOWN` by the constructor's argument that takes the file.
        threshold: the constructor's argument that takes the least score.
        needs: a package that it needs besides.
    """

    torch_network: ClassVar[bool] = True
    fan_reference: ClassVar[int] = 195
    name: ClassVar[str]
    files: ClassVar[dict[str, str]]
    threshold: ClassVar[str]
    needs: ClassVar[str | None] = None

    def __init__(self, face: FaceConfig, compute: ComputeConfig) -> None:
        """Loads the detector on the device of the options.

        Raises:
            ConfigError: if a package that it needs is not installed, or the device is not here.
            CheckpointError: if its weights are missing or not its own.
        """
        files = self.check(face)
        module = _module(f"face_alignment.detection.{self.name}", "face-alignment", self.name)
        with refused(files[_FILE], self.name):
            self._detector = module.FaceDetector(
                device=_device(compute) if self.torch_network else "cpu",
                **{argument: str(path) for argument, path in files.items()},
                **{self.threshold: face.min_score},
            )

    @classmethod
    def make(cls, face: FaceConfig, compute: ComputeConfig) -> FaceAlignmentDetector:
        """The detector of the options."""
        return cls(face, compute)

    @classmethod
    def check(cls, face: FaceConfig) -> dict[str, Path]:
        """Check its packages, and that its weights are there and have the network's names and shapes; the files.

        Raises:
            ConfigError: if a package that it needs is not installed.
            CheckpointError: if its weights are missing or not its own.
        """
        if cls.needs:
            _module(cls.needs, cls.needs, cls.name)
        given = {_FILE: face.detector_weights}
        files = {argument: locate(key, given.get(argument)) for argument, key in cls.files.items()}
        if cls.torch_network:
            _check_weights(files[_FILE], cls.name, cls.network)
        return files

    @classmethod
    def network(cls) -> Any:
        """The network without weights.

        Raises:
            NotImplementedError: where it is no torch network.
        """
        raise NotImplementedError(f"{cls.name} is no torch network")

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        found = self._detector.detect_from_image(np.ascontiguousarray(rgb))
        rows = np.asarray(found, np.float32).reshape(-1, 5)
        return in_order([Face(row[:4].copy(), float(row[4])) for row in rows if np.isfinite(row).all()])


class Sfd(FaceAlignmentDetector):
    """S3FD. Source: Zhang et al., S3FD: Single shot scale-invariant face detector, ICCV 2017."""

    name, files, threshold = "sfd", {_FILE: "sfd"}, "filter_threshold"

    @classmethod
    def network(cls) -> Any:
        """S3FD without weights."""
        return _module("face_alignment.detection.sfd.net_s3fd", "face-alignment", cls.name).s3fd()


class BlazeFace(FaceAlignmentDetector):
    """BlazeFace. Source: Bazarevsky et al., BlazeFace: Sub-millisecond neural face detection, 2019."""

    name, threshold = "blazeface", "min_score_thresh"
    files = {_FILE: "blazeface", "path_to_anchor": "blazeface_anchors"}

    @classmethod
    def network(cls) -> Any:
        """BlazeFace without weights."""
        return _module("face_alignment.detection.blazeface.net_blazeface", "face-alignment", cls.name).BlazeFace()


class RetinaFace(FaceAlignmentDetector):
    """RetinaFace on MobileNet. Source: Deng et al., RetinaFace: Single-shot multi-level localisation, CVPR 2020."""

    name, files, threshold = "retinaface", {_FILE: "retinaface"}, "confidence_threshold"
    fan_reference = 165

    @classmethod
    def network(cls) -> Any:
        """RetinaFace without weights."""
        module = _module("face_alignment.detection.retinaface.net_retinaface", "face-alignment", cls.name)
        return module.RetinaFace(cfg=module.cfg_mnet)


class Scrfd(FaceAlignmentDetector):
    """SCRFD by ONNX Runtime on the processor. Source: Guo et al., Sample and computation redistribution, ICLR 2022."""

    name, files, threshold = "scrfd", {_FILE: "scrfd"}, "confidence_threshold"
    torch_network = False
    fan_reference = 165
    needs = "onnxruntime"


class Fan:
    """FAN's 68 landmarks for the faces of an image."""

    torch_network: ClassVar[bool] = True

    def __init__(self, reference: int, compute: ComputeConfig | None = None) -> None:
        """Loads 2D-FAN-4 on the device of the options.

        Args:
            reference: the detector's `fan_reference`.
            compute: names the device.

        Raises:
            CheckpointError: if its weights are missing or not its own.
        """
        path = self.check()
        package = _module("face_alignment", "face-alignment", "fan")
        with refused(path, "FAN"):
            self._network = package.FaceAlignment(
                package.LandmarksType.TWO_D,
                device=_device(compute or ComputeConfig()),
                face_detector="folder",
                compile=False,
            )
        # Faces come from our own detectors; only the scale of their boxes is asked of the package's.
        self._network.face_detector = SimpleNamespace(reference_scale=reference)

    @classmethod
    def check(cls) -> Path:
        """Check that its weights are there and have the network's names and shapes; the file.

        Raises:
            CheckpointError: if they are missing or not its own.
        """
        path = locate("fan")
        _check_weights(path, "FAN", lambda: _module("face_alignment.models.fan", "face-alignment", "fan").FAN(4))
        return path

    def __call__(self, rgb: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """The faces with 68 landmarks each, in the pixels of `rgb`, uint8 (H, W, 3).

        A face of fewer than `FAN_MIN_SIDE` pixels a side has none.
        """
        return [replace(face, landmarks=self._points(rgb, face)) for face in faces]

    def _points(self, rgb: np.ndarray, face: Face) -> np.ndarray | None:
        if (face.box[2:] - face.box[:2]).min() < FAN_MIN_SIDE:
            return None
        (points,) = self._network.get_landmarks_from_image(rgb, detected_faces=[face.box.tolist()])
        return np.asarray(points, np.float32).reshape(FAN_POINTS, 2)


def _check_weights(path: Path, name: str, network: Callable[[], Any]) -> None:
    """Read a file strictly and hold it to a network's names and shapes; the network is not given any memory."""
    import torch

    from emofuse.io.checkpoints import check_names, read_tensors

    found = {key.removeprefix(_PREFIX): tensor for key, tensor in read_tensors(path).items()}
    with torch.device("meta"):
        known = network().state_dict()
    wanted = {key: tensor for key, tensor in known.items() if key in found or not key.endswith(_COUNTER)}
    what, where = f"{path} does not hold the weights of {name}", KNOWN[name.lower()].address
    check_names(found, wanted, what, f"they are at {where}")


@contextmanager
def refused(path: Path, name: str) -> Iterator[None]:
    """Turn what the package says of files that it cannot use into one line.

    Raises:
        CheckpointError: where the block fails on the weights.
    """
    try:
        yield
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        first = " ".join(str(error).split())[:160]
        where = KNOWN[name.lower()].address
        raise CheckpointError(f"{path} does not hold the weights of {name}: {first}; they are at {where}") from None


def _module(name: str, package: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"the detector {what} needs {package}: pip install {package} ({error})") from None


def _device(compute: ComputeConfig) -> str:
    from emofuse.experts.device import device_of  # loads torch

    return device_of(compute).type
