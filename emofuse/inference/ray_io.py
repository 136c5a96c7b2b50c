"""Both ends of the graph: which manifest rows go in, and where predictions are committed. Loads no network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from emofuse.errors import DataError
from emofuse.inference.manifest import manifest_blocks
from emofuse.inference.sink import commit, drop_completed
from emofuse.io import storage


def commit_block(block: pa.Table, folder: str, metadata: dict[str, Any], marker: str) -> pa.Table:
    """Write a block as one file, and give the file's name; a repetition replaces its own file.

    Args:
        block: rows of predictions.
        folder: for the file.
        metadata: written into it.
        marker: name of the file that the driver put into the folder.

    Raises:
        DataError: if the storage refuses, or this machine does not see what the driver wrote.
    """
    if block.num_rows and not storage.exists(storage.join(folder, marker)):
        raise DataError(
            f"{folder} is not the same folder on {socket.gethostname()} as where the job started: "
            "name a run directory that every machine can write, as s3://bucket/run or a shared mount"
        )
    names = [commit(folder, block, metadata)] if block.num_rows else []
    return pa.table({"file": pa.array(names, pa.string())})


class Committing:
    """A model whose actor commits what it returns: blocks in, names of files out.

    Args:
        model: class of the model.
        arguments: of its constructor.
        folder: for the files.
        metadata: written into each.
        marker: as of `commit_block`.
    """

    def __init__(
        self, model: type, arguments: tuple[Any, ...], folder: str, metadata: dict[str, Any], marker: str
    ) -> None:
        self._model, self._where = model(*arguments), (folder, metadata, marker)

    def __call__(self, block: pa.Table) -> pa.Table:
        """As the model, then as `commit_block`."""
        return commit_block(self._model(block), *self._where)


@contextmanager
def shared(folder: str, marker: str) -> Iterator[None]:
    """Mark a predictions folder while workers write to it, so that each can tell whether it sees the same one."""
    storage.write_bytes(storage.join(folder, marker), b"")
    yield
    storage.remove(storage.join(folder, marker))


def remaining(part: pa.Table, manifest: str, rows: int, done: ray.ObjectRef | None) -> Iterator[pa.Table]:
    """The rows of parts of a manifest that are not committed yet, `rows` or fewer at a time.

    Args:
        part: row groups, int64 lists in the column "groups".
        manifest: its address.
        rows: read together.
        done: reference to the sorted hashes of committed ids; None where nothing is committed.
    """
    committed = np.empty(0, np.uint64) if done is None else ray.get(done)
    for groups in part.column("groups").to_pylist():
        for block in manifest_blocks(manifest, rows, groups):
            yield drop_completed(block, committed)
