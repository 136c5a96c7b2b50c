"""A head on disk: safetensors, its card in the metadata, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from emofuse.errors import CheckpointError, ConfigError
from emofuse.experts.card import check_card, read_card
from emofuse.experts.head import Head, HeadSpec
from emofuse.io.checkpoints import check_names, read_tensors
from emofuse.io.storage import write_bytes


def save_head(path: Path, head: Head, card: dict[str, Any]) -> None:
    """Write `head` and its card; the file appears whole or not at all.

    Raises:
        CheckpointError: if the card lacks a field.
    """
    check_card(card, str(path))
    state = {key: value.detach().cpu().contiguous().clone() for key, value in head.state_dict().items()}
    write_bytes(str(path), save(state, metadata={"card": json.dumps(card, sort_keys=True, separators=(",", ":"))}))


def load_head(path: Path) -> tuple[Head, dict[str, Any]]:
    """A head, ready to serve, and its card.

    Raises:
        CheckpointError: as `read_card`, or if the tensors are not those the card announces.
    """
    card = read_card(path)
    tensors = read_tensors(path)
    what = f"{path} does not hold the head its card announces"
    try:
        spec = HeadSpec(**card["head"])
        with torch.device("meta"):  # a card may announce any size; only what the file bears out is made
            wanted = Head(spec).state_dict()
    except (ConfigError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{what}: {' '.join(str(error).split())}") from None
    check_names(tensors, wanted, what, "train one with `emofuse train`")
    head = Head(spec)
    head.load_state_dict(tensors)
    return head.eval(), card
