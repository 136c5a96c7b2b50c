"""Numeric columns of an Arrow table as arrays, and back; null is NaN."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow as pa

from emofuse.affect import AXES


def column(table: pa.Table, name: str) -> np.ndarray:
    """A numeric or boolean column as float64 (N,), null as NaN."""
    return table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)


def both(table: pa.Table, prefix: str = "", suffix: str = "") -> np.ndarray:
    """The valence and arousal columns of a name (`prefix_valence_suffix`), float64 (N, 2); no prefix: the labels."""
    return np.column_stack([column(table, "_".join(filter(None, (prefix, axis, suffix)))) for axis in AXES])


def texts(table: pa.Table, name: str) -> np.ndarray:
    """A string column as an object array (N,), null as None."""
    return np.array(table.column(name).to_pylist(), dtype=object)


def floats(values: np.ndarray) -> pa.Array:
    """A float32 column of (N,) values, NaN as null."""
    return pa.array(np.asarray(values).astype(np.float32), from_pandas=True)


def rows_fingerprint(table: pa.Table, split: str) -> str:
    """SHA-256 over the ids of a split's labelled rows: which data something was fitted on, whatever the predictions."""
    labelled = np.isfinite(both(table)).all(axis=1) & (texts(table, "split") == split)
    return hashlib.sha256(json.dumps(sorted(texts(table, "sample_id")[labelled])).encode()).hexdigest()


def group_names(table: pa.Table) -> np.ndarray:
    """The number of each row's group: of `group`, else of the sequence, else of the row itself."""
    names = texts(table, "sample_id")
    for better in ("sequence", "group"):
        found = texts(table, better)
        names = np.where(found == None, names, found)  # noqa: E711 - element by element
    return np.asarray(pd.factorize(names, sort=True)[0])
