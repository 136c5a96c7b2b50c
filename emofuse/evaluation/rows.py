"""The rows of an evaluation: which they are, and which were left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.errors import DataError
from emofuse.tables.columns import column, texts
from emofuse.tables.splits import HELD_OUT, labelled, rows_of, watched

NOT_READ = "not read"
NO_LABEL = "without a label"
BY_EXPERT = "an expert was fitted on"
BY_CALIBRATION = "the calibration or the stabilizer was fitted on"
WATCHED = "of valid, by which an expert's training was chosen"
OTHER_SPLIT = "of other splits"


def check_split(there: Iterable[str | None], wanted: str) -> None:
    """That a split can be evaluated.

    Raises:
        DataError: if no row belongs to it.
    """
    found = sorted({split for split in there if split is not None})
    if wanted not in ("all", HELD_OUT, *found):
        raise DataError(f"no row belongs to split {wanted!r}; there are: {', '.join(found) or 'none'}")


def choose_split(table: pa.Table, wanted: str) -> str:
    """The split that is evaluated: the one wanted, or all where no labelled row is held out.

    Args:
        table: of `schema.PREDICTIONS`, with what a calibration or sweep was fitted on marked `in_sample`.
        wanted: "held_out", "all" or one of `schema.SPLITS`.

    Raises:
        DataError: if no row belongs to the split that was asked for.
    """
    check_split(texts(table, "split"), wanted)
    known = labelled(table)
    return "all" if wanted == HELD_OUT and known.any() and not (known & rows_of(table, wanted)).any() else wanted


def row_counts(table: pa.Table, split: str, by_expert: np.ndarray) -> dict[str, Any]:
    """How many rows the headline is of, and how many are left out, each under its first reason.

    Args:
        table: of `schema.PREDICTIONS`, with what a calibration or sweep was fitted on marked `in_sample`.
        split: that is evaluated.
        by_expert: (N,), rows that an expert was fitted on.
    """
    in_sample = column(table, "in_sample") > 0
    reasons = {
        NOT_READ: texts(table, "status") == "error",
        NO_LABEL: ~labelled(table),
        OTHER_SPLIT: ~rows_of(table, split) if split != HELD_OUT else np.zeros(table.num_rows, dtype=bool),
        BY_EXPERT: by_expert,
        BY_CALIBRATION: in_sample & ~by_expert,
        WATCHED: watched(table) if split == HELD_OUT else np.zeros(table.num_rows, dtype=bool),
    }
    rest = np.ones(table.num_rows, dtype=bool)
    left_out = {}
    for reason, rows in reasons.items():
        if count := int((rest & rows).sum()):
            left_out[reason] = count
        rest &= ~rows
    return {"split": split, "evaluated": int(rest.sum()), "left_out": left_out}


def rows_sentence(counts: Mapping[str, Any]) -> str:
    """What `row_counts` found, in one line; empty for a record without it."""
    if not counts:
        return ""
    left_out = "; ".join(f"{count:,} {reason}" for reason, count in counts["left_out"].items())
    return f"{counts['evaluated']:,} labelled rows evaluated ({counts['split']}); left out: {left_out or 'none'}"
