"""Files on local disk or any fsspec address, written so that a reader never sees half of one."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.errors import ConfigError, DataError
from emofuse.io.addresses import display_uri, is_remote
from emofuse.io.retry import bound_client, reason, retry, storage_exceptions
from emofuse.tables.schema import refuse_code

Result = TypeVar("Result")

RETRIES = 6
"""Further attempts at a remote address that fails for the moment: about half a minute, and the client's own beside."""
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

    bound_client(address)
    try:
        return url_to_fs(absolute(address))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"cannot open {display_uri(address)}: {error} (for s3:// install emofuse[s3])") from None


def exists(address: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        DataError: if the storage cannot be reached.
    """
    fs, path = filesystem(address)
    return bool(_attempt(lambda: fs.exists(path), "reach", address))


def names(folder: str) -> list[str]:
    """The names of the committed files in a folder, sorted; empty where there is no folder.

    Raises:
        DataError: if the storage cannot be reached.
    """
    fs, path = filesystem(folder)

    def listed() -> list[str]:
        fs.invalidate_cache()
        try:
            return list(fs.ls(path, detail=False))
        except FileNotFoundError:
            return []

    entries = _attempt(listed, "list", folder)
    plain = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)
    return sorted(name for name in plain if not name.startswith((".", "_")))


def write_bytes(address: str, data: bytes) -> None:
    """Write a file in one step: on local disk beside, synced, then renamed; elsewhere as one object.

    Raises:
        DataError: if the storage refuses (no space, no permission), with its reason.
    """
    _attempt(lambda: (_put if is_remote(address) else _replace)(address, data), "write", address)


def _put(address: str, data: bytes) -> None:
    fs, path = filesystem(address)
    with fs.open(path, "wb") as file:
        file.write(data)


def _replace(address: str, data: bytes) -> None:
    with replacing(Path(absolute(address))) as pending:
        pending.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a local file to; at the end of the `with` it is synced and takes its name.

    Where the block fails, `path` is as it was and nothing is left beside it.

    Raises:
        DataError: if the storage refuses (no space, no permission), with its reason.
    """
    pending = path.with_name(f"{_PENDING}{uuid.uuid4().hex}{path.suffix}")  # torch wants a name with an ending
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield pending
        with open(pending, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(pending, path)
    except OSError as error:
        raise DataError(f"cannot write {display_uri(str(path))}: {reason(error)}") from None
    finally:
        pending.unlink(missing_ok=True)


def remove(address: str) -> None:
    """Remove a file; nothing happens where there is none.

    Raises:
        DataError: if the storage refuses.
    """
    fs, path = filesystem(address)

    def removed() -> None:
        with suppress(FileNotFoundError):
            fs.rm_file(path)

    _attempt(removed, "remove", address)


def read_bytes(address: str) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: if it is not there or cannot be read.
    """
    fs, path = filesystem(address)

    def read() -> bytes:
        with fs.open(path, "rb") as file:
            return file.read()

    return _attempt(read, "read", address)


ROW_GROUP = 65_536
"""Rows of a row group, so that a reader need not take a large table in one piece."""


def write_table(address: str, table: pa.Table) -> None:
    """Write one Parquet file in one step (zstd), in row groups that a reader need not hold all at once."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROW_GROUP)
    write_bytes(address, buffer.getvalue())


def read_table(address: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file, or all committed Parquet files of a folder, as one table.

    Raises:
        DataError: if nothing is there or a file is not Parquet.
    """
    fs, path = filesystem(address)
    if _attempt(lambda: fs.isdir(path), "reach", address):
        files = [join(address, name) for name in names(address) if name.endswith(".parquet")]
        if not files:
            raise DataError(f"no Parquet file in {display_uri(address)}")
    elif not exists(address):
        raise DataError(f"no file at {display_uri(address)}")
    else:
        files = [address]
    tables = [read_parquet(file, columns) for file in files]
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise DataError(f"the files in {display_uri(address)} differ in their columns: {reason(error)}") from None


def read_parquet(address: str, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file as a table of plain columns.

    Raises:
        DataError: if it cannot be read, is not Parquet, or holds columns whose values only code can make.
    """
    fs, path = filesystem(address)

    def read() -> pa.Table:
        with fs.open(path, "rb") as handle:
            return pq.ParquetFile(handle).read(columns=columns)

    try:
        return refuse_code(retry(read, address, RETRIES), display_uri(address))
    except storage_exceptions(pa.ArrowException, ValueError) as error:
        raise DataError(f"{display_uri(address)} cannot be read as Parquet: {reason(error)}") from None


def _attempt(action: Callable[[], Result], verb: str, address: str) -> Result:
    try:
        return retry(action, address, RETRIES)
    except storage_exceptions() as error:
        raise DataError(f"cannot {verb} {display_uri(address)}: {reason(error)}") from None
