"""Who worked when: stages that note each call, and the rate that follows from the notes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from emofuse.config import InferenceConfig


@dataclass(frozen=True)
class Events:
    """Calls of all workers.

    Attributes:
        worker: int (N,), process id.
        start: float64 (N,), seconds since the epoch.
        end: float64 (N,).
        rows: int (N,), rows through the experts; 0 for a call that only decoded.
        ready: process id of each model worker → when it was.
        loading: process id → seconds its construction took.
    """

    worker: np.ndarray
    start: np.ndarray
    end: np.ndarray
    rows: np.ndarray
    ready: dict[int, float]
    loading: dict[int, float]

    def steady(self, skip: float = 0.0) -> tuple[float, float]:
        """When every worker was warm, its first call done, and when the first of them had done its last call.

        Before it is start-up, and after it the last blocks end one by one; both are told by the whole run's time.
        NaN where no such time is: a worker's only call is both.

        Args:
            skip: the part of that time to leave out at its beginning, where Ray still starts processes.
        """
        experts = self.rows > 0
        ends = [self.end[experts & (self.worker == worker)] for worker in np.unique(self.worker[experts])]
        begins, done = float(max(each.min() for each in ends)), float(min(each.max() for each in ends))
        return (begins + skip * (done - begins), done) if done > begins else (np.nan, np.nan)

    def steady_rate(self, skip: float = 0.0) -> float:
        """Rows per second in that time; of a call that it cuts, the part inside counts.

        What others did before, decoding ahead while models were still being loaded, is charged as if the
        workers had done it afterwards, so that no start-up flatters the rate.
        """
        begins, ends = self.steady(skip)
        ahead = np.clip(np.minimum(self.end, begins) - self.start, 0, None)[self.rows == 0].sum()
        rows = (self.rows * self._within(begins, ends)).sum()
        return float(rows / (ends - begins + ahead / len(self.ready)))

    def busy(self, skip: float = 0.0) -> float:
        """Share of that time which model workers spent in the experts."""
        begins, ends = self.steady(skip)
        worked = (self._within(begins, ends) * (self.end - self.start))[self.rows > 0].sum()
        return float(worked / (len(self.ready) * (ends - begins)))

    def _within(self, begins: float, ends: float) -> np.ndarray:
        """The part of each call that lies in a stretch of time, float (N,)."""
        inside = np.minimum(self.end, ends) - np.maximum(self.start, begins)
        return np.asarray(np.clip(inside, 0, None) / np.maximum(self.end - self.start, 1e-9))


class Recorder:
    """Notes the calls of this process in a folder."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / f"{os.getpid()}.jsonl"
        self._began = time.time()

    def ready(self) -> None:
        """Note that a model worker is ready, and how long that took."""
        self._write(ready=time.time(), loading=time.time() - self._began)

    def call(self, start: float, rows: int) -> None:
        """Note a call that began at `start` and ends now, and how many rows went through the experts."""
        self._write(start=start, end=time.time(), rows=rows)

    def _write(self, **entry: float) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class RecordedPredictor:
    """`predict.Predictor`, or with `whole` `predict.DecodeAndPredict`, noting its calls."""

    def __init__(self, config: InferenceConfig, folder: str, whole: bool = False) -> None:
        from emofuse.inference.predictor import DecodeAndPredict, Predictor

        self._recorder = Recorder(folder)
        self._predictor = (DecodeAndPredict if whole else Predictor)(config)
        self._recorder.ready()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As what it stands for."""
        start = time.time()
        out = self._predictor(batch)
        self._recorder.call(start, batch.num_rows)
        return out


def recorded_decode(batch: pa.Table, config: InferenceConfig, folder: str) -> pa.Table:
    """`decode.decode`, noting its calls."""
    from emofuse.inference.decode import decode

    start = time.time()
    out = decode(batch, config)
    Recorder(folder).call(start, 0)
    return out


def read_events(folder: str) -> Events:
    """All calls noted in a folder."""
    calls: list[tuple[int, float, float, int]] = []
    ready: dict[int, float] = {}
    loading: dict[int, float] = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        worker = int(path.stem)
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if "ready" in entry:
                ready[worker], loading[worker] = entry["ready"], entry["loading"]
            else:
                calls.append((worker, entry["start"], entry["end"], entry["rows"]))
    by, start, end, rows = (np.array(column) for column in zip(*calls, strict=True))
    return Events(by, start, end, rows, ready, loading)
