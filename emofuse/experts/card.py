"""A head's card: a JSON object in the metadata of its safetensors file; read here without torch.

The card says what the head was trained on and with, what it reached, and what it needs to be served.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from emofuse.config import SceneConfig
from emofuse.errors import CheckpointError
from emofuse.experts.preprocess import Preprocessing
from emofuse.tables.hashes import are_packed

FORMAT = "emofuse-head/1"
REQUIRED = (
    "format",
    "expert",
    "backbone",
    "preprocessing",
    "head",
    "pooled_error",
    "variance_scale",
    "training_images",
)
NUMBERS = ("pooled_error", "variance_scale", "variance_floor")
"""Entries that variances are computed with."""
MAX = 1e6


def embedded_head(expert: str) -> Path:
    """The head that ships with the package, for the `scene` or the `face` expert."""
    return Path(__file__).resolve().parent / "embedded" / f"{expert}.safetensors"


def read_card(path: Path) -> dict[str, Any]:
    """The card of a head file, without its tensors.

    Raises:
        CheckpointError: if there is no such file, or it is not a head with a card.
    """
    if not path.is_file():
        raise CheckpointError(
            f"no head at {path}; train one with `emofuse train`, or leave it out for the embedded one"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})["card"])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError):
        raise CheckpointError(
            f"{path} is not a head: expected safetensors with a card, as `emofuse train` writes"
        ) from None
    check_card(card, str(path))
    return card


def is_in_sample(card: dict[str, Any], hashes: Iterable[str | None]) -> np.ndarray:
    """For each content hash (None = unknown), whether that image was in the head's training set; bool (N,)."""
    return are_packed(card["training_images"], hashes)


def check_card(card: dict[str, Any], where: str) -> None:
    """Refuse a card that lacks a field or has another format.

    Raises:
        CheckpointError: saying which.
    """
    if not isinstance(card, dict):
        raise CheckpointError(f"the card of {where} is no JSON object")
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        raise CheckpointError(f"the card of {where} lacks {', '.join(missing)}")
    if card["format"] != FORMAT:
        raise CheckpointError(f"{where} has the card format {card['format']!r}, expected {FORMAT!r}")
    for key in NUMBERS:
        values = np.asarray(card.get(key, 0.0), dtype=object).ravel()
        if not all(isinstance(value, int | float) and 0 <= value <= MAX for value in values):
            raise CheckpointError(f"the card of {where} has {card[key]} for {key}; expected numbers from 0 to {MAX:g}")


def head_path(scene: SceneConfig) -> Path:
    """The head file of a config."""
    return Path(scene.head) if scene.head else embedded_head("scene")


def preprocessing_of(scene: SceneConfig) -> Preprocessing:
    """The preprocessing of a config's scene expert, read from the head's card: cheap, without any backbone.

    Raises:
        CheckpointError: if there is no such head.
    """
    return Preprocessing.from_json(read_card(head_path(scene))["preprocessing"])
