#!/usr/bin/env python
"""What this machine or cluster can attain, and what the pipeline attains of it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from emofuse.cli import run_job
from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig, MediaConfig, SceneConfig
from emofuse.runs import run as runs

DESCRIPTION = """Measures, on the images of a manifest: decoding alone, the experts alone, as many plain processes
without Ray, and the pipeline, all in steady state; the ratio of the last two; start-up and peak memory. With
--simulate the experts are timed waits, so that the cost of orchestration shows at widths this machine does not have."""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    manifest: str | None = None
    """Manifest whose images are used, over and over; by default the demonstration photographs."""
    out: str | None = None
    """Folder for benchmark.parquet and benchmark.png; by default one below runs/."""
    rows: int = 512
    """Rows for each worker."""
    rounds: int = 3
    """How often plain processes, the pipeline and a plain loop take turns."""
    workers: tuple[int, ...] = (1, 2)
    """Model workers to measure with, one after another."""
    simulate: bool = False
    """Timed waits in the place of decoding and experts."""
    milliseconds: float = 10.0
    """With --simulate: a batch's wait."""
    address: str | None = None
    """Ray cluster to join; by default RAY_ADDRESS, else a cluster on this machine."""
    media: MediaConfig = field(default_factory=MediaConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def main(options: Options) -> None:
    """Measure, print, and write a table and a figure."""
    from emofuse.benchmark.benchmark import Figure, draw
    from emofuse.evaluate import demo_manifest
    from emofuse.io import storage

    out = runs.check_output(options.out) if options.out else storage.join(runs.folder(), "benchmark")
    manifest = storage.absolute(options.manifest) if options.manifest else demo_manifest()
    console = Console()
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for figure in _simulate(options, folder) if options.simulate else _measure(options, manifest):
            console.print(
                f"{figure.name}, {figure.workers} worker(s): {figure.value:,.4g} {figure.unit}", highlight=False
            )
            found.append(figure)
    storage.write_table(storage.join(out, "benchmark.parquet"), _table(found, runs.provenance()))
    storage.write_bytes(storage.join(out, "benchmark.png"), draw(found))
    table = Table("measured", "workers", "value", "unit")
    for figure in found:
        table.add_row(figure.name, str(figure.workers), f"{figure.value:,.4g}", figure.unit)
    console.print(table)
    console.print(f"written to {out}", highlight=False)


def _measure(options: Options, manifest: str):  # type: ignore[no-untyped-def]
    from emofuse.benchmark import benchmark
    from emofuse.inference.run import resolved

    config = resolved(InferenceConfig(0, options.media, options.scene, options.face, options.compute))
    size = config.compute.batch_size
    yield from benchmark.bare(benchmark.repeated(manifest, max(2 * size, 64)), config)
    for workers in options.workers:
        yield from benchmark.compared(manifest, config, workers, options.rows, options.rounds, options.address)


def _simulate(options: Options, folder: str):  # type: ignore[no-untyped-def]
    import ray

    from emofuse.benchmark import benchmark
    from emofuse.benchmark.simulate import write_rows
    from emofuse.inference.cluster import local_options, quieten
    from emofuse.inference.ray_graph import configure
    from emofuse.inference.resources import plan

    quieten()
    for workers in options.workers:
        rows, path = options.rows * workers, str(Path(folder) / f"{workers}.parquet")
        # In a process of its own, whose memory is not counted as the driver's.
        with get_context("spawn").Pool(1) as alone:
            alone.apply(write_rows, (path, rows))
        # Waiting takes no processor, so the cluster may claim as many as it likes.
        ray.init(**{**local_options(), "num_cpus": workers + 4}, logging_level="ERROR")
        try:
            configure()
            compute = replace(options.compute, actors=workers, device="cpu")
            width = plan(compute, {"CPU": workers + 4.0}, rows)
            seconds = options.milliseconds / 1e3
            yield from benchmark.simulated(path, rows, width, seconds, compute.batch_size)
        finally:
            ray.shutdown()


def _table(found: list, about: dict):  # type: ignore[no-untyped-def, type-arg]
    import pyarrow as pa

    from emofuse.tables.schema import with_metadata

    return with_metadata(pa.Table.from_pylist([asdict(figure) for figure in found]), provenance=about)


if __name__ == "__main__":
    run_job(main, Options, DESCRIPTION)
