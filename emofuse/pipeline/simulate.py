"""Stages without pictures or networks: a batch costs a wait of a stated length.

With them the cost of orchestration can be measured at widths that a machine does not have.
Nothing here loads torch, so that sixty-four actors fit where one real one does.
"""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.columns import floats
from emofuse.pipeline.graph import Stages, perceiving
from emofuse.pipeline.resources import Plan
from emofuse.pipeline.sink import hash_ids
from emofuse.schema import PREDICTIONS, conform


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


def simulated_stages(plan: Plan, seconds: float, batch_size: int) -> Stages:
    """The stages of `graph.build_graph` with timed experts of `seconds` per batch."""
    decoding = {"fn": decode, "num_cpus": plan.task_cpus}
    return Stages(decoding, perceiving(plan, TimedExperts, (seconds, batch_size)))
