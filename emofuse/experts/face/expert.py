"""The face expert of a run: face crops in, valence and arousal with a variance out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import VARIANCE_FLOOR, Affect
from emofuse.config import ComputeConfig, FaceConfig
from emofuse.errors import ConfigError
from emofuse.experts.card import embedded_head, read_card
from emofuse.experts.head_expert import HeadExpert
from emofuse.experts.preprocess import Preprocessing

FACE_CHUNK = 8
"""Faces per call of the embedded network: few images have one, and a large batch would be mostly padding."""


class FaceExpert(Protocol):
    """What `make_face_expert` gives."""

    card: dict[str, Any]
    """What it is, where its weights come from, and what it reached where that is known."""
    expressions: tuple[str, ...]
    """Names of its expression classes; empty where it has none."""

    def __call__(self, crops: np.ndarray) -> Affect:
        """Affect (N, 2) of uint8 RGB crops (N, 256, 256, 3); raw variances, means not clamped."""

    def evaluate(self, crops: np.ndarray) -> tuple[Affect, np.ndarray]:
        """The same, and the probabilities of `expressions`, float32 (N, classes)."""


class EmbeddedFaceExpert:
    """The embedded backbone with a head trained on face crops: a small network for a first run, not EmoNet."""

    expressions: tuple[str, ...] = ()

    def __init__(self, face: FaceConfig, compute: ComputeConfig, seed: int = 0) -> None:
        """Loads the head, the one that ships with the package unless `face.checkpoint` names another, and its backbone.

        Raises:
            CheckpointError: if they are missing or do not belong together.
        """
        shape = replace(compute, batch_size=compute.face_chunk or FACE_CHUNK)
        self._expert = HeadExpert(_head_file(face), shape, seed=seed)
        self._preprocessing: Preprocessing = self._expert.preprocessing
        self.card = self._expert.card

    def __call__(self, crops: np.ndarray) -> Affect:
        """Affect (N, 2) of uint8 crops (N, 256, 256, 3)."""
        size = self._preprocessing.size
        images = [self._preprocessing.apply(crop) for crop in crops]
        return self._expert(np.stack(images) if images else np.empty((0, size, size, 3), np.uint8))

    def evaluate(self, crops: np.ndarray) -> tuple[Affect, np.ndarray]:
        """The same; it knows no expressions."""
        return self(crops), np.empty((len(crops), 0), np.float32)

    def in_sample(self, hashes: Iterable[str | None]) -> np.ndarray:
        """Whether images with these content hashes were in the head's training set; bool (N,)."""
        return self._expert.in_sample(hashes)


def make_face_expert(face: FaceConfig, compute: ComputeConfig, seed: int = 0) -> FaceExpert:
    """The face expert that the options name.

    Args:
        face: which expert, with which weights and views.
        compute: device, precision, batch shape.
        seed: fixes augmentation scales and dropout masks, one set for every face.

    Raises:
        ConfigError: if the options name no expert.
        CheckpointError: if weights are missing or wrong.
    """
    if face.expert == "emonet":
        from emofuse.experts.face.emonet_expert import EmoNetExpert

        return EmoNetExpert(face, compute, seed)
    if face.expert == "embedded":
        return EmbeddedFaceExpert(face, compute, seed)
    raise ConfigError(f"face.expert must be embedded or emonet to evaluate faces; got {face.expert!r}")


def face_card(face: FaceConfig, seed: int = 0) -> dict[str, Any]:
    """The card of the expert that the options name, without loading its network; for checks before a run starts.

    Raises:
        ConfigError: if the options name no expert.
        CheckpointError: if weights are missing.
    """
    if face.expert == "emonet":
        from emofuse.experts.face.emonet_expert import emonet_card

        return emonet_card(face, seed)
    if face.expert == "embedded":
        return read_card(_head_file(face))
    raise ConfigError(f"face.expert must be embedded or emonet to evaluate faces; got {face.expert!r}")


def combine_faces(affect: Affect, areas: ArrayLike) -> Affect:
    """One prediction of the k faces of an image, weighted by precision and size.

    w_i ∝ area_i / variance_i, mean Σ w_i m_i, variance Σ w_i² v_i, per axis. Where a variance is unknown the
    faces of that axis are weighted by size alone, and the variance is unknown.

    Args:
        affect: (k, 2).
        areas: (k,), the faces' sizes in square pixels.

    Returns:
        (2,); invalid where no face is valid.

    Raises:
        ValueError: if there is not one positive area for each face.
    """
    size = np.asarray(areas, np.float64)
    if affect.mean.shape != (len(size), 2) or not (np.isfinite(size) & (size > 0)).all():
        raise ValueError(f"expected Affect (k, 2) and k positive areas, got {affect.mean.shape} and {size}")
    if not len(size):
        return Affect.missing((2,))
    known = (np.isfinite(affect.variance) | ~affect.valid).all(axis=0)
    variance = np.maximum(np.where(np.isfinite(affect.variance), affect.variance, 1.0), VARIANCE_FLOOR)
    weight = np.where(affect.valid, size[:, None] / np.where(known, variance, 1.0), 0.0)
    total = weight.sum(axis=0)
    weight = weight / np.where(total > 0, total, 1.0)
    mean = np.where(total > 0, (weight * np.where(affect.valid, affect.mean, 0.0)).sum(axis=0), np.nan)
    return Affect.of(mean, np.where(known, (weight**2 * variance).sum(axis=0), np.nan))


def _head_file(face: FaceConfig) -> Path:
    return Path(face.checkpoint) if face.checkpoint else embedded_head("face")
