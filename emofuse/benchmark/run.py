"""The measurements of one benchmark, in order, and the table they are kept in."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from emofuse.benchmark import benchmark
from emofuse.benchmark.benchmark import Figure
from emofuse.benchmark.simulate import write_rows
from emofuse.config import ComputeConfig, InferenceConfig
from emofuse.inference.cluster import local_options, quieten
from emofuse.inference.ray_graph import configure
from emofuse.inference.resources import plan
from emofuse.inference.run import resolved
from emofuse.tables.schema import with_metadata


def measured(
    manifest: str, config: InferenceConfig, workers: Sequence[int], rows: int, rounds: int, address: str | None
) -> Iterator[Figure]:
    """Decoding, experts, plain processes and the pipeline on a manifest's images; see `benchmark.compared`."""
    config = resolved(config)
    yield from benchmark.bare(benchmark.repeated(manifest, max(2 * config.compute.batch_size, 64)), config)
    for count in workers:
        yield from benchmark.compared(manifest, config, count, rows, rounds, address)


def simulated(
    compute: ComputeConfig, workers: Sequence[int], rows: int, seconds: float, folder: str
) -> Iterator[Figure]:
    """The pipeline with timed waits in the place of decoding and experts.

    Args:
        compute: batch size and blocks.
        workers: model workers, one after another.
        rows: for each worker.
        seconds: that a batch waits.
        folder: takes the rows.
    """
    quieten()
    for count in workers:
        path = str(Path(folder) / f"{count}.parquet")
        # In a process of its own, whose memory is not counted as the driver's.
        with get_context("spawn").Pool(1) as alone:
            alone.apply(write_rows, (path, rows * count))
        # Waiting takes no processor, so the cluster may claim as many as it likes.
        ray.init(**{**local_options(), "num_cpus": count + 4}, logging_level=logging.ERROR)
        try:
            configure()
            width = plan(replace(compute, actors=count, device="cpu"), {"CPU": count + 4.0}, rows * count)
            yield from benchmark.simulated(path, rows * count, width, seconds, compute.batch_size)
        finally:
            ray.shutdown()


def table_of(found: list[Figure], about: dict[str, Any]) -> pa.Table:
    """The figures as a table, with what made them."""
    return with_metadata(pa.Table.from_pylist([asdict(figure) for figure in found]), provenance=about)
