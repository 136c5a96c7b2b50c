"""OpenCV's YuNet."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import CheckpointError
from emofuse.experts.face.detectors.base import Face, in_order
from emofuse.io.weights import locate


class YuNet:
    """YuNet through OpenCV: boxes and five landmarks.

    Source: Wu, Peng & Yu, YuNet: A tiny millisecond-level face detector, MIR 2023.
    """

    torch_network: ClassVar[bool] = False
    fan_reference: ClassVar[int] = 165

    @classmethod
    def make(cls, face: FaceConfig, compute: ComputeConfig) -> YuNet:  # noqa: ARG003 - as every detector
        """The detector of the options, on the CPU."""
        return cls(locate("yunet", face.detector_weights), face.min_score)

    @classmethod
    def check(cls, face: FaceConfig) -> None:
        """Check that its file is there, has the hash it should have, and is a model that OpenCV reads.

        Raises:
            CheckpointError: if not.
        """
        cls(locate("yunet", face.detector_weights), face.min_score)  # 0.2 MB, and OpenCV has no reader besides

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
