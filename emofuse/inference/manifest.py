"""Looking a manifest through before a run, and a run through after it, both in bounded memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.errors import DataError
from emofuse.inference.sink import drop_repeats, hash_ids
from emofuse.io import storage
from emofuse.io.addresses import display_uri
from emofuse.io.retry import reason, retry, storage_exceptions
from emofuse.tables.hashes import row_hashes
from emofuse.tables.schema import MANIFEST, check_manifest, conform_manifest, read_metadata

PART_ROWS = 65_536
"""Manifest rows that are looked through, or given to a reader, together."""


@dataclass(frozen=True)
class ManifestSummary:
    """What a manifest holds.

    Attributes:
        rows: how many.
        content: sha256 over all values, those of the user's own columns too, whatever its row groups.
        metadata: what it says of the data set: name, units, licence.
        splits: that rows belong to.
        columns: names and types, those of the user's own last.
    """

    rows: int
    content: str
    metadata: dict[str, Any]
    splits: frozenset[str]
    columns: pa.Schema


def scan_manifest(address: str) -> ManifestSummary:
    """Check a manifest and take its fingerprint, in one pass.

    Raises:
        DataError: if it is not Parquet or not a manifest.
    """
    if not storage.exists(address):
        raise DataError(f"no manifest at {display_uri(address)}; make one with `emofuse prepare`")
    try:
        found, ids = retry(lambda: _scan(address), address, storage.RETRIES)
    except storage_exceptions(pa.ArrowException, ValueError) as error:
        raise DataError(f"{display_uri(address)} cannot be read as a Parquet manifest: {reason(error)}") from None
    if not found.rows:
        raise DataError(f"the manifest {display_uri(address)} has no rows")
    if len(np.unique(ids)) != found.rows:
        raise DataError(f"sample_id must be unique in {display_uri(address)}; ids stand in more than one row")
    return found


def _scan(address: str) -> tuple[ManifestSummary, np.ndarray]:
    fs, path = storage.filesystem(address)
    digest, hashes, rows, splits = hashlib.sha256(), [np.empty(0, np.uint64)], 0, set[str]()
    columns = MANIFEST
    with fs.open(path, "rb") as handle:
        parquet = pq.ParquetFile(handle)
        for batch in parquet.iter_batches(batch_size=PART_ROWS):
            table = check_manifest(pa.Table.from_batches([batch]))
            digest.update(row_hashes(table).tobytes())
            hashes.append(hash_ids(table.column("sample_id")))
            rows, columns = rows + table.num_rows, table.schema
            splits |= set(table.column("split").unique().to_pylist()) - {None}
        about = dict(read_metadata(parquet.schema_arrow))
    found = ManifestSummary(rows, digest.hexdigest(), about, frozenset(splits), columns.remove_metadata())
    return found, np.concatenate(hashes)


def manifest_parts(address: str) -> list[list[int]]:
    """A manifest's row groups in parts of about `PART_ROWS` rows, so that no reader holds all of it.

    Raises:
        DataError: if it cannot be read.
    """
    parts, size = list[list[int]](), PART_ROWS
    with _opened(address) as parquet:
        for i in range(parquet.metadata.num_row_groups):
            if size >= PART_ROWS:
                parts.append([])
                size = 0
            parts[-1].append(i)
            size += parquet.metadata.row_group(i).num_rows
    return parts


def manifest_blocks(address: str, rows: int, groups: list[int] | None = None) -> Iterator[pa.Table]:
    """The rows of a manifest in its order, in the form of `conform_manifest`, `rows` or fewer at a time.

    Args:
        address: of the manifest.
        rows: read together.
        groups: the row groups that are wanted; None for all.

    Raises:
        DataError: if it cannot be read.
    """
    with _opened(address) as parquet:
        for batch in parquet.iter_batches(batch_size=rows, row_groups=groups):
            yield conform_manifest(pa.Table.from_batches([batch]))


@contextmanager
def _opened(address: str) -> Iterator[pq.ParquetFile]:
    fs, path = storage.filesystem(address)
    try:
        with fs.open(path, "rb") as handle:
            yield pq.ParquetFile(handle)
    except storage_exceptions(pa.ArrowException) as error:
        raise DataError(f"{display_uri(address)} cannot be read as a Parquet manifest: {reason(error)}") from None


def check_whole(rows: int, record: dict[str, Any]) -> None:
    """That a run whose predictions are to be evaluated has all of them.

    Args:
        rows: of its predictions.
        record: its run.json; empty where the predictions belong to no run.

    Raises:
        DataError: if some are still to come.
    """
    manifest = record.get("manifest")
    expected = manifest.get("rows", rows) if isinstance(manifest, dict) else rows
    if rows != expected:
        raise DataError(f"the run has {rows} of {expected} predictions: it is not finished; start it again first")


def check_complete(expected: int, predictions: str) -> dict[str, int]:
    """That every manifest row stands in the predictions exactly once; repeats are dropped.

    Returns:
        Rows in and out, and by status.

    Raises:
        DataError: if rows are lost, or stand there that the manifest does not have.
    """
    hashes, counts = _look_back(predictions)
    if len(hashes) != len(np.unique(hashes)):
        drop_repeats(predictions)
        hashes, counts = _look_back(predictions)
    rows, distinct = len(hashes), len(np.unique(hashes))
    if rows != expected or distinct != expected:
        raise DataError(f"{expected} rows in, {rows} out, {distinct} distinct: the run is not whole; start it again")
    return {"in": expected, "out": rows, **counts}


def _look_back(predictions: str) -> tuple[np.ndarray, Counter[str]]:
    """Hashes of all committed ids, and how many rows have which status."""
    hashes, counts = [np.empty(0, np.uint64)], Counter[str]()
    for name in storage.names(predictions):
        table = storage.read_parquet(storage.join(predictions, name), ["sample_id", "status"])
        hashes.append(hash_ids(table.column("sample_id")))
        counts.update({c["values"]: c["counts"] for c in table.column("status").value_counts().to_pylist()})
    return np.concatenate(hashes), counts
