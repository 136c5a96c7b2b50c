"""Hashes that identify rows, images and the values of tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

DIGITS = 16
"""Leading hexadecimal digits by which a hash is known; two of ten million share them with a chance of 3e-6."""


def pack_hashes(hashes: Iterable[str]) -> str:
    """Hexadecimal hashes as one short string; sorted, without repeats."""
    return "".join(sorted({value[:DIGITS].lower() for value in hashes}))


def are_packed(packed: str, hashes: Iterable[str | None]) -> np.ndarray:
    """For each hash (None = unknown), whether `packed` holds it; bool (N,)."""
    known = {packed[i : i + DIGITS] for i in range(0, len(packed), DIGITS)}
    return np.array([value is not None and value[:DIGITS].lower() in known for value in hashes], dtype=bool)


def row_hashes(table: pa.Table) -> np.ndarray:
    """A 64-bit hash of each row's values, nested ones included; uint64 (N,)."""
    from pandas.util import hash_pandas_object

    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):  # pandas cannot hash lists
            words = [None if value is None else repr(value) for value in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(words, pa.string()))
    return hash_pandas_object(table.to_pandas(), index=False).to_numpy()
