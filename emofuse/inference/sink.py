"""Committed files of a predictions folder: what is there is whole, and what is there is not made again.

A file appears in one step under a name that follows from its rows, so a write that Ray
repeats replaces itself. What a resumed run skips is what these files hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.errors import DataError
from emofuse.io import storage
from emofuse.io.addresses import display_uri
from emofuse.runs.run import Run
from emofuse.tables.hashes import row_hashes
from emofuse.tables.schema import read_metadata, with_metadata


def commit(folder: str, table: pa.Table, metadata: dict[str, Any]) -> str:
    """Write rows as one committed file, sorted by id.

    Args:
        folder: of predictions.
        table: the rows.
        metadata: of the data set and the experts; it stands in every file, so that a table is evaluated by itself.

    Returns:
        The file's name, `part-<hash of its ids>-<rows>.parquet`.

    Raises:
        DataError: if the run that the folder belongs to was finished by another job meanwhile.
    """
    if Run(storage.parent(folder)).finished:
        raise DataError(f"{display_uri(folder)} belongs to a run that another job has finished; nothing is added to it")
    table = with_metadata(table.sort_by("sample_id"), **metadata)
    digest = hashlib.sha256(json.dumps(table.column("sample_id").to_pylist()).encode()).hexdigest()[:20]
    name = f"part-{digest}-{table.num_rows}.parquet"
    storage.write_table(storage.join(folder, name), table)
    return name


def committed_rows(folder: str) -> int:
    """How many rows are committed, from the files' names alone."""
    return sum(int(name.removesuffix(".parquet").rsplit("-", 1)[1]) for name in _parts(folder))


def committed_ids(folder: str) -> np.ndarray:
    """Hashes of the ids of all committed rows, uint64 (N,), sorted."""
    return np.unique(np.concatenate([np.empty(0, np.uint64), *(ids for _, ids in _ids(folder))]))


def drop_repeats(folder: str) -> int:
    """Leave every row of a predictions folder once.

    A worker that outlives its driver for a moment can commit a block that the next driver has already
    given out again. Both copies hold the same bits; the one whose file comes first by name stays.

    Returns:
        How many rows were dropped.
    """
    files = list(_ids(folder))
    if not files:
        return 0
    every = np.concatenate([ids for _, ids in files])
    first = np.zeros(len(every), dtype=bool)
    first[np.unique(every, return_index=True)[1]] = True
    written: set[str] = set()
    for (name, _), keep in zip(files, np.split(first, np.cumsum([len(ids) for _, ids in files])[:-1]), strict=True):
        if keep.all():
            continue
        rest = storage.read_parquet(storage.join(folder, name)).filter(pa.array(keep))
        # What is left is committed before its old file goes: a kill in between leaves repeats, never a gap.
        if rest.num_rows:
            written.add(commit(folder, rest, read_metadata(rest.schema)))
        if name not in written:
            storage.remove(storage.join(folder, name))
    return int((~first).sum())


def _ids(folder: str) -> Iterator[tuple[str, np.ndarray]]:
    for name in _parts(folder):
        table = storage.read_parquet(storage.join(folder, name), ["sample_id"])
        yield name, hash_ids(table.column("sample_id"))


def hash_ids(ids: pa.ChunkedArray) -> np.ndarray:
    """A 64-bit hash of each id, uint64 (N,)."""
    from pandas.util import hash_array

    return hash_array(np.array(ids.to_pylist(), dtype=object), categorize=False)


def drop_completed(table: pa.Table, done: np.ndarray) -> pa.Table:
    """The rows of `table` whose ids are not among `done`, the sorted hashes of `committed_ids`."""
    if not len(done) or not table.num_rows:
        return table
    hashes = hash_ids(table.column("sample_id"))
    at = np.minimum(np.searchsorted(done, hashes), len(done) - 1)
    return table.filter(pa.array(done[at] != hashes))


def table_fingerprint(table: pa.Table) -> str:
    """SHA-256 over a predictions table's values, in the order of its ids.

    Raises:
        DataError: if it has no ids.
    """
    if "sample_id" not in table.column_names:
        raise DataError(f"predictions lack sample_id; the table has {', '.join(table.column_names)}")
    return hashlib.sha256(row_hashes(table.sort_by("sample_id")).tobytes()).hexdigest()


def count_statuses(table: pa.Table) -> dict[str, int]:
    """Rows in and out, and by status."""
    found = table.column("status").value_counts().to_pylist() if "status" in table.column_names else []
    return {"in": table.num_rows, "out": table.num_rows, **{each["values"]: each["counts"] for each in found}}


def _parts(folder: str) -> list[str]:
    return [name for name in storage.names(folder) if name.startswith("part-") and name.endswith(".parquet")]
