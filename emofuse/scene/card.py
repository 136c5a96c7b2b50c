"""A head's file: safetensors with its card, a JSON object, in the metadata.

The card says what the head was trained on and with, what it reached, and what it needs to be served.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from emofuse.errors import CheckpointError
from emofuse.scene.head import Head, HeadSpec

FORMAT = "emofuse-head/1"
REQUIRED = ("format", "expert", "tower", "preprocessing", "head", "pooled_error", "variance_scale", "training_pictures")
HASH_DIGITS = 16
"""A training picture is known by this many leading hexadecimal digits of the sha256 of its file."""


def embedded_head(expert: str) -> Path:
    """The head that ships with the package, for the `scene` or the `face` expert."""
    return Path(__file__).resolve().parents[1] / expert / "embedded.safetensors"


def save_head(path: Path, head: Head, card: dict[str, Any]) -> None:
    """Write `head` and its card; the file appears whole or not at all.

    Raises:
        CheckpointError: if the card lacks a field.
    """
    card = {"format": FORMAT, "head": asdict(head.spec), **card}
    _check(card, str(path))
    state = {key: value.detach().cpu().contiguous().clone() for key, value in head.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(save(state, metadata={"card": json.dumps(card, sort_keys=True, separators=(",", ":"))}))
    beside.replace(path)


def read_card(path: Path) -> dict[str, Any]:
    """The card of a head file, without its tensors.

    Raises:
        CheckpointError: if there is no such file, or it is not a head with a card.
    """
    if not path.is_file():
        raise CheckpointError(
            f"no head at {path}; train one with jobs/train_scene.py, or leave it out for the embedded one"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})["card"])
    except (SafetensorError, OSError, KeyError, ValueError):
        raise CheckpointError(
            f"{path} is not a head: expected safetensors with a card, as train_scene.py writes"
        ) from None
    _check(card, str(path))
    return card


def load_head(path: Path) -> tuple[Head, dict[str, Any]]:
    """A head, ready to serve, and its card.

    Raises:
        CheckpointError: as `read_card`, or if the tensors are not those the card announces.
    """
    card = read_card(path)
    try:
        head = Head(HeadSpec(**card["head"]))
        head.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not hold the head its card announces: {' '.join(str(error).split())}"
        ) from None
    return head.eval(), card


def pack_hashes(hashes: Iterable[str]) -> str:
    """Content hashes (hexadecimal sha256) as one short string for a card; sorted, without repeats."""
    return "".join(sorted({value[:HASH_DIGITS].lower() for value in hashes}))


def is_in_sample(card: dict[str, Any], hashes: Iterable[str | None]) -> np.ndarray:
    """For each content hash (None = unknown), whether that picture was in the head's training set; bool (N,)."""
    packed = card["training_pictures"]
    known = {packed[i : i + HASH_DIGITS] for i in range(0, len(packed), HASH_DIGITS)}
    return np.array([value is not None and value[:HASH_DIGITS].lower() in known for value in hashes], dtype=bool)


def _check(card: dict[str, Any], where: str) -> None:
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        raise CheckpointError(f"the card of {where} lacks {', '.join(missing)}")
    if card["format"] != FORMAT:
        raise CheckpointError(f"{where} has the card format {card['format']!r}, expected {FORMAT!r}")
