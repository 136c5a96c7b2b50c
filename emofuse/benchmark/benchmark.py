"""What a machine or cluster can attain, and what the pipeline attains of it.

Attainable is what as many plain processes reach with the very functions of the pipeline and no Ray between
them. Everything is measured in steady state: start-up is told apart.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.benchmark.events import RecordedPredictor, Recorder, read_events, recorded_decode
from emofuse.benchmark.peaks import watched_memory
from emofuse.config import InferenceConfig
from emofuse.inference.resources import Plan, plan
from emofuse.io import storage
from emofuse.io.malloc import REUSE
from emofuse.tables.schema import MANIFEST, conform

MIN, MAX = ", least", ", most"
"""Ends of names of figures that tell the spread over rounds."""
SETTLING = 0.5
"""The part of a simulated run that is not measured: with many workers on few cores Ray starts its tasks' processes."""


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        workers: with how many model workers.
        value: the number.
        unit: of `value`.
    """

    name: str
    workers: int
    value: float
    unit: str


def repeated(manifest: str, rows: int) -> pa.Table:
    """The rows of a manifest, over and over under new ids, until there are `rows`."""
    table = conform(storage.read_table(manifest), MANIFEST, "manifest")
    times = -(-rows // table.num_rows)
    parts = []
    for i in range(times):
        ids = pa.array([f"{name}#{i}" for name in table.column("sample_id").to_pylist()])
        parts.append(table.set_column(0, MANIFEST.field("sample_id"), ids))
    return pa.concat_tables(parts).slice(0, rows)


def bare(table: pa.Table, config: InferenceConfig) -> list[Figure]:
    """Decoding and the experts, each by itself, one thread, on the same rows, in a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        return alone.apply(_bare, (table, config))


def _bare(table: pa.Table, config: InferenceConfig) -> list[Figure]:
    from emofuse.inference.decode import Decoder
    from emofuse.inference.predictor import Predictor

    decoder, predictor = Decoder(config), Predictor(config)
    first = decoder(table.slice(0, config.compute.batch_size))
    predictor(first)
    began = time.perf_counter()
    decoded = decoder(table)
    between = time.perf_counter()
    predicted = predictor(decoded)
    ended = time.perf_counter()
    n = table.num_rows
    return [
        Figure("decode and find faces, alone", 1, n / (between - began), "images/s"),
        Figure("experts, alone", 1, n / (ended - between), "images/s"),
        Figure("time to decode and find faces", 1, 1e3 * (between - began) / n, "ms/image"),
        Figure("time in the experts", 1, 1e3 * (ended - between) / n, "ms/image"),
        Figure("bytes of a decoded row", 1, decoded.nbytes / n, "B"),
        Figure("bytes of a predicted row", 1, predicted.nbytes / n, "B"),
    ]


def plain(table: pa.Table, config: InferenceConfig, workers: int, block: int, *, reuse: bool = True) -> float:
    """Steady-state images/s of as many plain processes, each decoding and inferring block after block of its own share.

    Args:
        table: manifest rows.
        config: resolved.
        workers: how many processes.
        block: rows that are decoded and then predicted together.
        reuse: whether they use freed memory again, as the pipeline does (`emofuse.io.malloc`).
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        shares = [table.take(np.arange(i, table.num_rows, workers)) for i in range(workers)]
        ready = context.Barrier(workers)
        processes = [
            context.Process(target=_loop, args=(share, config, block, folder, ready, reuse)) for share in shares
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a plain worker failed; its traceback stands above")
        return read_events(folder).steady_rate()


def serial(table: pa.Table, config: InferenceConfig, *, reuse: bool) -> float:
    """Images/s of one process that decodes and infers one batch after another, with all threads."""
    config = replace(config, compute=replace(config.compute, threads=psutil.cpu_count() or 1))
    return plain(table, config, 1, config.compute.batch_size, reuse=reuse)


def compared(
    manifest: str, config: InferenceConfig, workers: int, rows: int, rounds: int, address: str | None = None
) -> Iterator[Figure]:
    """Plain processes, one plain loop and the pipeline in turn, so that what the machine does meanwhile meets all.

    Args:
        manifest: whose images are used, over and over.
        config: resolved.
        workers: model workers, and plain processes.
        rows: for each worker.
        rounds: how often; rates are medians of the rounds, ratios medians of the rounds' ratios.
        address: of the Ray cluster; None for one on this machine.
    """
    from emofuse.inference.cluster import ray_cluster
    from emofuse.inference.resources import block_rows

    table = repeated(manifest, rows * workers)
    block = config.compute.rows_per_block or block_rows(table.num_rows, workers, config.compute.batch_size)
    found: list[list[Figure]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_manifest(table, str(Path(folder) / "manifest.parquet"))
        for _ in range(rounds):
            attainable = plain(table, config, workers, block)
            with ray_cluster(address) as cluster:
                ours = piped(path, table.num_rows, config, workers, cluster)
            loop, tuned = (serial(table.slice(0, rows // 2), config, reuse=reuse) for reuse in (False, True))
            found.append([
                Figure("one plain loop, all threads", workers, loop, "images/s"),
                Figure("the same loop, freed memory used again", workers, tuned, "images/s"),
                Figure("plain processes, steady", workers, attainable, "images/s"),
                *ours,
                Figure("achieved / attainable", workers, ours[0].value / attainable, "share"),
                Figure("pipeline / one plain loop", workers, ours[0].value / loop, "share"),
                Figure("pipeline / that loop, memory used again", workers, ours[0].value / tuned, "share"),
            ])  # fmt: skip
    for each in zip(*found, strict=True):
        values = [figure.value for figure in each]
        yield replace(each[0], value=float(np.median(values)))
        if rounds > 1 and each[0].unit == "share":
            yield replace(each[0], name=f"{each[0].name}{MIN} of {rounds}", value=min(values))
            yield replace(each[0], name=f"{each[0].name}{MAX} of {rounds}", value=max(values))


def piped(manifest: str, rows: int, config: InferenceConfig, workers: int, cluster: dict[str, float]) -> list[Figure]:
    """The pipeline on the Ray cluster that this process has joined."""
    from emofuse.experts.face.detectors import detects_with_torch
    from emofuse.inference.job import Job
    from emofuse.inference.ray_graph import build_graph, real_stages, with_experts, write

    width = plan(replace(config.compute, actors=workers), cluster, rows, torch_detector=detects_with_torch(config.face))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as events:
        job = Job(manifest, folder, config, width, {})
        decoding = real_stages(job).decode
        if decoding is not None and not width.detectors:
            decoding |= {"fn": recorded_decode, "fn_kwargs": {"config": config, "folder": events}}
        stages = with_experts(job, decoding, RecordedPredictor, (config, events, not width.separate_decode_stage))
        peak: dict[str, float] = {}
        began = time.perf_counter()
        with watched_memory(peak):
            write(build_graph(job, None, stages), job)
        seconds = time.perf_counter() - began
        found = read_events(events)
    return [
        Figure("pipeline, steady", workers, found.steady_rate(), "images/s"),
        Figure("pipeline, with start-up", workers, rows / seconds, "images/s"),
        Figure("experts at work", workers, found.busy(), "share"),
        Figure("actor start", workers, max(found.loading.values()), "s"),
        *(Figure(f"peak memory of {who}", workers, size / 2**20, "MiB") for who, size in peak.items()),
    ]


def simulated(manifest: str, rows: int, width: Plan, seconds: float, batch: int) -> list[Figure]:
    """The pipeline with experts that only wait `seconds` a batch: the cost of orchestration."""
    from emofuse.benchmark.simulate import simulated_stages
    from emofuse.inference.job import Job
    from emofuse.inference.ray_graph import build_graph, write

    workers = width.actors[1]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as events:
        job = Job(manifest, folder, InferenceConfig(), width, {})
        peak: dict[str, float] = {}
        began = time.time()
        with watched_memory(peak):
            write(build_graph(job, None, simulated_stages(width, seconds, batch, events)), job)
        ended = time.time()
        first = min(entry.stat().st_mtime for entry in os.scandir(folder))
        found = read_events(events)
    rate = found.steady_rate(SETTLING)
    return [
        Figure("simulated, steady", workers, rate, "rows/s"),
        Figure("simulated, efficiency", workers, rate * seconds / (workers * batch), "share"),
        Figure("simulated, experts at work", workers, found.busy(SETTLING), "share"),
        Figure("simulated, with start-up", workers, rows / (ended - began), "rows/s"),
        Figure("slowest actor's start", workers, max(found.ready.values()) - began, "s"),
        Figure("time to first row", workers, first - began, "s"),
        *(Figure(f"peak memory of {who}", workers, size / 2**20, "MiB") for who, size in peak.items()),
    ]


def _loop(share: pa.Table, config: InferenceConfig, block: int, folder: str, ready: Any, reuse: bool) -> None:
    """One plain worker: load, wait for the others, then block after block."""
    if not reuse:
        os.environ[REUSE] = "0"
    from emofuse.inference.decode import Decoder
    from emofuse.inference.predictor import Predictor

    decoder, predictor, recorder = Decoder(config), Predictor(config), Recorder(folder)
    predictor(decoder(share.slice(0, config.compute.batch_size)))
    ready.wait()
    recorder.ready()
    for start in range(0, share.num_rows, block):
        began = time.time()
        rows = share.slice(start, block)
        predictor(decoder(rows))
        recorder.call(began, rows.num_rows)


def write_manifest(table: pa.Table, path: str) -> str:
    """A benchmark's manifest."""
    pq.write_table(table, path)
    return path


def draw(found: list[Figure]) -> bytes:
    """The rates and shares over the number of workers, as a PNG."""
    import io

    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9, 3.8), layout="constrained")
    for axes, units in zip(canvas.subplots(1, 2), (("images/s", "rows/s"), ("share",)), strict=True):
        for name in dict.fromkeys(figure.name for figure in found if figure.unit in units):
            if MIN in name or MAX in name:
                continue
            mine = [figure for figure in found if figure.name == name]
            least, most = ([f for f in found if f.name.startswith(name + end)] for end in (MIN, MAX))
            (line,) = axes.plot([f.workers for f in mine], [f.value for f in mine], marker="o", label=name)
            axes.vlines([f.workers for f in least], [f.value for f in least], [f.value for f in most], line.get_color())
        axes.set_xlabel("model workers")
        axes.set_ylabel(" or ".join(units))
        axes.set_xscale("log", base=2)
        widths = sorted({figure.workers for figure in found})
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(fontsize=7)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
