"""The detectors and the 68-landmark network of the `face-alignment` package, behind our own interface.

Their weights are fetched by `emofuse.io.weights` into torch's cache, where the package looks for them too, and are
read with `weights_only`, so that no code of theirs runs.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from emofuse.config import FaceConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.face.detectors.base import Face, in_order
from emofuse.io.weights import KNOWN, locate

FAN_POINTS = 68
FAN_MIN_SIDE = 8
"""Minimum side of a box in which FAN looks for landmarks, in pixels."""


@dataclass(frozen=True)
class Kind:
    """How a detector of the package is made.

    Attributes:
        module: its module below `face_alignment.detection`.
        weights: keys of `weights.KNOWN` by the constructor's argument that takes the file.
        options: further arguments, of the least score.
        torch_network: whether it is a torch network.
        fan_reference: side of its boxes at which FAN sees a face at its own scale.
        needs: a package that it needs beside.
    """

    module: str
    weights: dict[str, str]
    options: Callable[[float], dict[str, Any]]
    torch_network: bool = True
    fan_reference: int = 195
    needs: str | None = None


KINDS = {
    "sfd": Kind("sfd", {"path_to_detector": "sfd"}, lambda score: {"filter_threshold": score}),
    "blazeface": Kind(
        "blazeface",
        {"path_to_detector": "blazeface", "path_to_anchor": "blazeface_anchors"},
        lambda score: {"min_score_thresh": score},
    ),
    "retinaface": Kind(
        "retinaface",
        {"path_to_detector": "retinaface"},
        lambda score: {"confidence_threshold": score},
        fan_reference=165,
    ),
    "scrfd": Kind(
        "scrfd",
        {"path_to_detector": "scrfd"},
        lambda score: {"confidence_threshold": score},
        torch_network=False,
        fan_reference=165,
        needs="onnxruntime",
    ),
}
"""The package's detectors by name. Its dlib detector is left out: it gives no scores, and the package deprecates it."""


class FaceAlignmentDetector:
    """A detector of `face-alignment`: boxes and scores, no landmarks."""

    def __init__(self, name: str, face: FaceConfig) -> None:
        """Loads the detector on the GPU where there is one.

        Raises:
            ConfigError: if a package that it needs is not installed.
            CheckpointError: if its weights are missing or not its own.
        """
        kind = KINDS[name]
        self.torch_network, self.fan_reference = kind.torch_network, kind.fan_reference
        if kind.needs:
            _module(kind.needs, kind.needs, name)
        module = _module(f"face_alignment.detection.{kind.module}", "face-alignment", name)
        given = {"path_to_detector": face.detector_weights}
        files = {argument: locate(key, given.get(argument)) for argument, key in kind.weights.items()}
        with refused(files["path_to_detector"], name):
            self._detector = module.FaceDetector(
                device=_device() if kind.torch_network else "cpu",
                **{argument: str(path) for argument, path in files.items()},
                **kind.options(face.min_score),
            )

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        found = self._detector.detect_from_image(np.ascontiguousarray(rgb))
        rows = np.asarray(found, np.float32).reshape(-1, 5)
        return in_order([Face(row[:4].copy(), float(row[4])) for row in rows if np.isfinite(row).all()])


class Fan:
    """FAN's 68 landmarks for the faces of an image."""

    def __init__(self, reference: int) -> None:
        """Loads 2D-FAN-4 on the GPU where there is one.

        Args:
            reference: the detector's `fan_reference`.

        Raises:
            CheckpointError: if its weights are missing or not its own.
        """
        path = locate("fan")
        package = _module("face_alignment", "face-alignment", "fan")
        with refused(path, "FAN"):
            self._network = package.FaceAlignment(
                package.LandmarksType.TWO_D, device=_device(), face_detector="folder", compile=False
            )
        # Faces come from our own detectors; only the scale of their boxes is asked of the package's.
        self._network.face_detector = SimpleNamespace(reference_scale=reference)

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


@contextmanager
def refused(path: Path, name: str) -> Iterator[None]:
    """Turn what torch and the package say of wrong weights into one line.

    Raises:
        CheckpointError: where the block fails on the weights.
    """
    try:
        yield
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds more than tensors, or is damaged; it was not run, and is not {name}'s"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        first = " ".join(str(error).split())[:160]
        where = KNOWN[name.lower()].address
        raise CheckpointError(f"{path} does not hold the weights of {name}: {first}; they are at {where}") from None


def _module(name: str, package: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"the detector {what} needs {package}: pip install {package} ({error})") from None


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
