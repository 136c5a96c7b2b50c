"""Writing a table whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.errors import ConfigError
from emofuse.media import is_remote


def write_table(table: pa.Table, address: str) -> None:
    """Write a Parquet file that is either complete or absent.

    Args:
        table: any table; its schema metadata goes along.
        address: a local path, whose folders are made, or any address that fsspec opens.

    Raises:
        ConfigError: if the place cannot be written.
    """
    try:
        if is_remote(address):
            _write_remote(table, address)
        else:
            _write_local(table, Path(address.removeprefix("file://")).expanduser())
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(f"cannot write {address}: {error}") from None


def _write_local(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        pq.write_table(table, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write_remote(table: pa.Table, address: str) -> None:
    import fsspec

    # Object stores show a file when it is closed, never before.
    with fsspec.open(address, "wb") as file:
        pq.write_table(table, file)
