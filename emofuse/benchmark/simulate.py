"""Stages without images or networks: a batch costs a wait of a stated length.

With them the cost of orchestration can be measured at widths that a machine does not have.
Nothing here loads torch, so that sixty-four actors fit where one real one does.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.benchmark.events import Recorder
from emofuse.inference.ray_graph import Stages, predict_stage
from emofuse.inference.resources import Plan
from emofuse.inference.sink import hash_ids
from emofuse.io import storage
from emofuse.tables.columns import floats
from emofuse.tables.schema import MANIFEST, PREDICTIONS, conform

TOGETHER_SECONDS = 300.0
"""How long timed experts wait for each other."""


def decode(batch: pa.Table) -> pa.Table:
    """Nothing is read: the rows as they come."""
    return batch


class TimedExperts:
    """Both experts as a wait for each batch; their estimates follow from the id, so that rows can be checked.

    Args:
        seconds: of a batch.
        batch_size: rows of one.
    """

    def __init__(self, seconds: float, batch_size: int) -> None:
        self._seconds, self._batch = seconds, batch_size

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of the manifest to rows of `schema.PREDICTIONS`."""
        for _ in range(-(-batch.num_rows // self._batch)):
            time.sleep(self._seconds)
        n = batch.num_rows
        columns = {name: batch.column(name) for name in batch.column_names if name in PREDICTIONS.names}
        values = estimates(batch.column("sample_id"))
        for i, axis in enumerate(AXES):
            columns[f"scene_{axis}"] = floats(values[:, i])
            columns[f"scene_{axis}_variance"] = floats(np.full(n, 0.05))
        columns["scene_variance_source"] = pa.array(["model"] * n)
        columns["in_sample"] = pa.array(np.zeros(n, dtype=bool))
        columns["status"] = pa.array(["no_face"] * n)
        return conform(pa.table(columns), PREDICTIONS, "predictions").select(PREDICTIONS.names)


def estimates(ids: pa.ChunkedArray) -> np.ndarray:
    """What `TimedExperts` says of these ids, (N, 2) in [-1, 1)."""
    hashes = hash_ids(ids)
    return np.column_stack([hashes & 0xFFFF, (hashes >> np.uint64(16)) & 0xFFFF]) / 32768.0 - 1.0


def write_rows(path: str, rows: int) -> None:
    """Write a manifest of `rows` rows whose images do not exist."""
    ids = [f"row-{i:09d}" for i in range(rows)]
    columns = {"sample_id": ids, "uri": [f"/images/{name}.jpg" for name in ids], "group": ids}
    storage.write_table(path, conform(pa.table(columns), MANIFEST, "manifest"))


class RecordedExperts(TimedExperts):
    """Timed experts that note their calls, and begin together: starting many processes on few cores takes long.

    Args:
        seconds: of a batch.
        batch_size: rows of one.
        folder: for the notes.
        workers: how many there are.
    """

    def __init__(self, seconds: float, batch_size: int, folder: str, workers: int) -> None:
        super().__init__(seconds, batch_size)
        self._recorder, self._folder, self._workers = Recorder(folder), Path(folder), workers
        self._together = False
        self._recorder.ready()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As `TimedExperts`, once all the others are there."""
        patience = time.monotonic() + TOGETHER_SECONDS
        while not self._together and time.monotonic() < patience:
            self._together = sum(1 for _ in self._folder.glob("*.jsonl")) >= self._workers
            time.sleep(0.1)
        self._together = True
        start = time.time()
        out = super().__call__(batch)
        self._recorder.call(start, batch.num_rows)
        return out


def simulated_stages(plan: Plan, seconds: float, batch_size: int, folder: str | None = None) -> Stages:
    """The stages of `graph.build_graph` with timed experts of `seconds` per batch, that note calls in a folder."""
    decoding = {"fn": decode, "num_cpus": plan.task_cpus} if plan.separate_decode_stage else None
    if folder is None:
        return Stages(decoding, predict_stage(plan, TimedExperts, (seconds, batch_size)))
    return Stages(decoding, predict_stage(plan, RecordedExperts, (seconds, batch_size, folder, plan.actors[1])))
