"""Files on local disk or any fsspec address, written so that a reader never sees half of one."""

from __future__ import annotations

import io
import os
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.errors import ConfigError, DataError
from emofuse.media import is_remote

_PENDING = ".pending-"


def join(address: str, *parts: str) -> str:
    """`address` with parts appended, whatever its scheme."""
    return "/".join([address.rstrip("/") or "/", *parts])


def parent(address: str) -> str:
    """The folder that holds a file or folder."""
    return address.rstrip("/").rpartition("/")[0] or "/"


def stem(address: str) -> str:
    """The last part of an address without its ending."""
    return address.rstrip("/").rpartition("/")[2].rpartition(".")[0] or address.rstrip("/").rpartition("/")[2]


def absolute(address: str | os.PathLike[str]) -> str:
    """A local path made absolute (`~` and `file://` resolved); other addresses as they are."""
    text = os.fspath(address)
    if is_remote(text):
        return text
    return str(Path(text.removeprefix("file://")).expanduser().absolute())


def filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address and the path in it.

    Raises:
        ConfigError: for a scheme that nothing installed serves.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(absolute(address))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"cannot open {address}: {error} (for s3:// install emofuse[s3])") from None


def exists(address: str) -> bool:
    """Whether a file or folder is there."""
    fs, path = filesystem(address)
    return bool(fs.exists(path))


def names(folder: str) -> list[str]:
    """The names of the committed files in a folder, sorted; empty where there is no folder."""
    fs, path = filesystem(folder)
    fs.invalidate_cache()
    try:
        entries = fs.ls(path, detail=False)
    except FileNotFoundError:
        return []
    plain = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)
    return sorted(name for name in plain if not name.startswith((".", "_")))


def write_bytes(address: str, data: bytes) -> None:
    """Write a file in one step: on local disk beside, synced, then renamed; elsewhere as one object.

    Raises:
        DataError: if the storage refuses (no space, no permission), with its reason.
    """
    try:
        if is_remote(address):
            fs, path = filesystem(address)
            with fs.open(path, "wb") as file:
                file.write(data)
            return
        final = Path(absolute(address))
        final.parent.mkdir(parents=True, exist_ok=True)
        pending = final.with_name(f"{_PENDING}{uuid.uuid4().hex}")
        try:
            with open(pending, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(pending, final)
        finally:
            pending.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {address}: {error.strerror or error}") from error


def read_bytes(address: str) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: if it is not there or cannot be read.
    """
    fs, path = filesystem(address)
    try:
        with fs.open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"cannot read {address}: {error.strerror or error}") from None


def write_table(address: str, table: pa.Table) -> None:
    """Write one Parquet file in one step (zstd)."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(address, buffer.getvalue())


def read_table(address: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file, or all committed Parquet files of a folder, as one table.

    Raises:
        DataError: if nothing is there or a file is not Parquet.
    """
    fs, path = filesystem(address)
    files = [path]
    if fs.isdir(path):
        files = [f"{path.rstrip('/')}/{name}" for name in names(address) if name.endswith(".parquet")]
        if not files:
            raise DataError(f"no Parquet file in {address}")
    elif not fs.exists(path):
        raise DataError(f"no file at {address}")
    tables = []
    for file in files:
        try:
            with fs.open(file, "rb") as handle:
                tables.append(pq.read_table(handle, columns=columns))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise DataError(f"the files in {address} differ in their columns: {error}") from None
