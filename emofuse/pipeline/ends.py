"""Both ends of the graph: which manifest rows go in, and where predictions are committed. Loads no network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasink

from emofuse.pipeline.sink import commit, without
from emofuse.schema import MANIFEST, conform


class CommitSink(Datasink[list[str]]):
    """Commits the blocks of one write task as one file."""

    def __init__(self, folder: str, metadata: dict[str, Any]) -> None:
        self._folder, self._metadata = folder, metadata

    def write(self, blocks: Iterable[pa.Table], ctx: Any) -> list[str]:  # noqa: ARG002 - Ray's signature
        """Write a task's blocks; a repetition of the task replaces its own file."""
        tables = [block for block in blocks if block.num_rows]
        return [commit(self._folder, pa.concat_tables(tables), self._metadata)] if tables else []


def remaining(batch: pa.Table, done: ray.ObjectRef | None) -> pa.Table:
    """The rows that are not committed yet, in the form of the manifest's schema.

    Args:
        batch: manifest rows.
        done: reference to the sorted hashes of committed ids; None where nothing is committed.
    """
    batch = conform(batch, MANIFEST, "manifest")
    return batch if done is None else without(batch, ray.get(done))
