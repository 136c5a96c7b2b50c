"""Who worked when: experts that note each call, and the steady rate that follows from the notes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from emofuse.config import PerceiveConfig


@dataclass(frozen=True)
class Events:
    """Calls of all workers.

    Attributes:
        worker: int (N,), process ids.
        start: float64 (N,), seconds since the epoch.
        end: float64 (N,).
        rows: int (N,).
        loaded: process id → seconds its construction took.
    """

    worker: np.ndarray
    start: np.ndarray
    end: np.ndarray
    rows: np.ndarray
    loaded: dict[int, float]

    def steady_rate(self) -> float:
        """Rows per second while every worker was at work: from the last first call's end to the first last call's.

        NaN where no such time is.
        """
        workers = np.unique(self.worker)
        begins = max(self.end[self.worker == w].min() for w in workers)
        ends = min(self.end[self.worker == w].max() for w in workers)
        inside = (self.end > begins) & (self.end <= ends)
        return float(self.rows[inside].sum() / (ends - begins)) if ends > begins else float("nan")

    def busy(self) -> float:
        """Share of that time which workers spent in calls."""
        workers = np.unique(self.worker)
        begins = max(self.end[self.worker == w].min() for w in workers)
        ends = min(self.end[self.worker == w].max() for w in workers)
        if ends <= begins:
            return float("nan")
        worked = np.clip(np.minimum(self.end, ends) - np.maximum(self.start, begins), 0, None).sum()
        return float(worked / (len(workers) * (ends - begins)))


class Recorder:
    """Notes the calls of this process in a folder."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / f"{os.getpid()}.jsonl"
        self._began = time.time()

    def loaded(self) -> None:
        """Note that the worker is ready."""
        self._write(load=time.time() - self._began)

    def call(self, start: float, rows: int) -> None:
        """Note a call that began at `start` and ends now."""
        self._write(start=start, end=time.time(), rows=rows)

    def _write(self, **entry: float) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class RecordedPerceiver:
    """`perceive.Perceiver`, noting its calls."""

    def __init__(self, config: PerceiveConfig, folder: str) -> None:
        from emofuse.pipeline.perceive import Perceiver

        self._recorder = Recorder(folder)
        self._perceiver = Perceiver(config)
        self._recorder.loaded()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As `perceive.Perceiver`."""
        start = time.time()
        out = self._perceiver(batch)
        self._recorder.call(start, batch.num_rows)
        return out


def read_events(folder: str) -> Events:
    """All calls noted in a folder."""
    calls: list[tuple[int, float, float, int]] = []
    loaded: dict[int, float] = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        worker = int(path.stem)
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if "load" in entry:
                loaded[worker] = entry["load"]
            else:
                calls.append((worker, entry["start"], entry["end"], entry["rows"]))
    worker_ids, start, end, rows = (
        (np.array(column) for column in zip(*calls, strict=True)) if calls else [np.empty(0)] * 4
    )
    return Events(worker_ids, start, end, rows, loaded)
