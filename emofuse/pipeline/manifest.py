"""Looking a manifest through before a run, and a run through after it, both in bounded memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse import storage
from emofuse.errors import DataError
from emofuse.pipeline.sink import hash_ids
from emofuse.schema import check_manifest, read_metadata

_ROWS = 65_536


@dataclass(frozen=True)
class Survey:
    """What a manifest holds.

    Attributes:
        rows: how many.
        content: sha256 over its values, whatever its row groups.
        metadata: what it says of the data set: name, units, licence.
    """

    rows: int
    content: str
    metadata: dict[str, Any]


def survey(address: str) -> Survey:
    """Check a manifest and take its fingerprint, in one pass.

    Raises:
        DataError: if it is not Parquet or not a manifest.
    """
    from pandas.util import hash_pandas_object

    fs, path = storage.filesystem(address)
    if not fs.exists(path):
        raise DataError(f"no manifest at {address}; make one with jobs/prepare_dataset.py")
    digest, hashes, rows = hashlib.sha256(), [np.empty(0, np.uint64)], 0
    try:
        with fs.open(path, "rb") as handle:
            parquet = pq.ParquetFile(handle)
            for batch in parquet.iter_batches(batch_size=_ROWS):
                table = check_manifest(pa.Table.from_batches([batch]))
                digest.update(hash_pandas_object(table.to_pandas(), index=False).to_numpy().tobytes())
                hashes.append(hash_ids(table.column("sample_id")))
                rows += table.num_rows
            schema = parquet.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{address} cannot be read as a Parquet manifest: {str(error).splitlines()[0]}") from None
    if not rows:
        raise DataError(f"the manifest {address} has no rows")
    if len(np.unique(np.concatenate(hashes))) != rows:
        raise DataError(f"sample_id must be unique in {address}; ids stand in more than one row")
    return Survey(rows, digest.hexdigest(), dict(read_metadata(schema)))


def check_complete(expected: int, predictions: str) -> dict[str, int]:
    """That every manifest row stands in the predictions exactly once.

    Returns:
        Rows in and out, and by status.

    Raises:
        DataError: if rows are lost or doubled.
    """
    fs, path = storage.filesystem(predictions)
    hashes, counts, rows = [np.empty(0, np.uint64)], Counter[str](), 0
    for name in storage.names(predictions):
        with fs.open(f"{path.rstrip('/')}/{name}", "rb") as handle:
            table = pq.read_table(handle, columns=["sample_id", "status"])
        hashes.append(hash_ids(table.column("sample_id")))
        counts.update({c["values"]: c["counts"] for c in table.column("status").value_counts().to_pylist()})
        rows += table.num_rows
    distinct = len(np.unique(np.concatenate(hashes)))
    if rows != expected or distinct != expected:
        raise DataError(f"{expected} rows in, {rows} out, {distinct} distinct: the run is not whole; start it again")
    return {"in": expected, "out": rows, **counts}
