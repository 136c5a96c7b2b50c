"""Which rows an evaluation is of: a published split, all, or those that nothing in the run was fitted on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from emofuse.tables.columns import both, column, texts

HELD_OUT = "held_out"
"""Rows that no expert, calibration or sweep was fitted on, of whatever split."""


def rows_of(table: pa.Table, split: str) -> np.ndarray:
    """The rows of a split, bool (N,).

    Args:
        table: of `schema.PREDICTIONS`, with what a calibration or sweep was fitted on marked `in_sample`.
        split: "held_out", "all" or one of `schema.SPLITS`.
    """
    if split == "all":
        return np.ones(table.num_rows, dtype=bool)
    if split != HELD_OUT:
        return texts(table, "split") == split
    return ~(column(table, "in_sample") > 0) & ~watched(table)


def watched(table: pa.Table) -> np.ndarray:
    """Rows of valid where train was fitted on, bool (N,): the same training stopped, and chose, by them."""
    split = texts(table, "split")
    trained = (column(table, "in_sample") > 0) & (split == "train")
    return (split == "valid") & trained.any()


def splits_needed(table: pa.Table) -> str:
    """The end of a message to those who want to fit something on a table without splits; empty where it has some."""
    if table.column("split").null_count < table.num_rows:
        return ""
    return "; it has no splits: prepare the data set again with --split 70/15/15, or with a column split of your own"


def labelled(table: pa.Table) -> np.ndarray:
    """Rows with a label on either axis, bool (N,)."""
    return np.isfinite(both(table)).any(axis=1)
