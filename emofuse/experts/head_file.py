"""A head on disk: safetensors, its card in the metadata, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from emofuse.errors import CheckpointError
from emofuse.experts.card import check_card, read_card
from emofuse.experts.head import Head, HeadSpec


def save_head(path: Path, head: Head, card: dict[str, Any]) -> None:
    """Write `head` and its card; the file appears whole or not at all.

    Raises:
        CheckpointError: if the card lacks a field.
    """
    check_card(card, str(path))
    state = {key: value.detach().cpu().contiguous().clone() for key, value in head.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(save(state, metadata={"card": json.dumps(card, sort_keys=True, separators=(",", ":"))}))
    beside.replace(path)


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
