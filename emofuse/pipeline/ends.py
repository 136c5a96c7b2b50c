"""Both ends of the graph: which manifest rows go in, and where predictions are committed. Loads no network."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasink

from emofuse import storage
from emofuse.errors import DataError
from emofuse.pipeline.sink import commit, without
from emofuse.schema import MANIFEST, conform

MARKER = "_writing"
"""Stands in a predictions folder while a job on Ray writes to it; readers of Parquet folders pass it over."""


class CommitSink(Datasink[list[str]]):
    """Commits the blocks of one write task as one file."""

    def __init__(self, folder: str, metadata: dict[str, Any]) -> None:
        self._folder, self._metadata = folder, metadata

    def write(self, blocks: Iterable[pa.Table], ctx: Any) -> list[str]:  # noqa: ARG002 - Ray's signature
        """Write a task's blocks; a repetition of the task replaces its own file.

        Raises:
            DataError: if the storage refuses, or this machine does not see what the driver wrote.
        """
        tables = [block for block in blocks if block.num_rows]
        if tables and not storage.exists(storage.join(self._folder, MARKER)):
            raise DataError(
                f"{self._folder} is not the same folder on {socket.gethostname()} as where the job started: "
                "name a run directory that every machine can write, as s3://bucket/run or a shared mount"
            )
        return [commit(self._folder, pa.concat_tables(tables), self._metadata)] if tables else []


@contextmanager
def shared(folder: str) -> Iterator[None]:
    """Mark a predictions folder while workers write to it, so that each can tell whether it sees the same one."""
    storage.write_bytes(storage.join(folder, MARKER), b"")
    yield
    storage.remove(storage.join(folder, MARKER))


def remaining(batch: pa.Table, done: ray.ObjectRef | None) -> pa.Table:
    """The rows that are not committed yet, in the form of the manifest's schema.

    Args:
        batch: manifest rows.
        done: reference to the sorted hashes of committed ids; None where nothing is committed.
    """
    batch = conform(batch, MANIFEST, "manifest")
    return batch if done is None else without(batch, ray.get(done))
