"""`emofuse benchmark`: what this machine or cluster can attain, and what the pipeline attains of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from emofuse.cli import refuse
from emofuse.config import ComputeConfig, FaceConfig, InferenceConfig, MediaConfig, SceneConfig

if TYPE_CHECKING:
    from emofuse.benchmark.benchmark import Figure

DESCRIPTION = """Measures, on the images of a manifest: decoding alone, the experts alone, as many plain processes
without Ray, and the pipeline, all in steady state; the ratio of the last two; start-up and peak memory. With
--simulate the experts are timed waits, so that the cost of orchestration shows at widths this machine does not have."""


@dataclass(frozen=True)
class Options:
    """Options of `emofuse benchmark`."""

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
    milliseconds: float | None = None
    """With --simulate: a batch's wait; by default 10."""
    address: str | None = None
    """Ray cluster to join; by default RAY_ADDRESS, else a cluster on this machine."""
    media: MediaConfig = field(default_factory=MediaConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def main(options: Options) -> None:
    """Measure, print, and write a table and a figure."""
    if options.simulate:
        replaced = ("manifest", "rounds", "address", "media", "scene", "face")
        refuse(options, *replaced, why="--simulate waits in the place of images and experts")
    else:
        refuse(options, "milliseconds", why="it belongs to --simulate")
    from emofuse.benchmark.benchmark import draw
    from emofuse.benchmark.run import table_of
    from emofuse.io import storage
    from emofuse.runs import run as runs

    out = runs.check_output(options.out) if options.out else storage.join(runs.folder(), "benchmark")
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        for figure in _figures(options, folder):
            told = f"{figure.name}, {figure.workers} worker(s): {figure.value:,.4g} {figure.unit}"
            console.print(told, highlight=False)
            found.append(figure)
    storage.write_table(storage.join(out, "benchmark.parquet"), table_of(found, runs.provenance()))
    storage.write_bytes(storage.join(out, "benchmark.png"), draw(found))
    table = Table("measured", "workers", "value", "unit")
    for figure in found:
        table.add_row(figure.name, str(figure.workers), f"{figure.value:,.4g}", figure.unit)
    console.print(table)
    console.print(f"written to {out}", highlight=False)


def _figures(options: Options, folder: str) -> Iterator[Figure]:
    from emofuse.benchmark.run import measured, simulated
    from emofuse.io import storage
    from emofuse.pipeline import demo_manifest

    if options.simulate:
        milliseconds = 10.0 if options.milliseconds is None else options.milliseconds
        return simulated(options.compute, options.workers, options.rows, milliseconds / 1e3, folder)
    manifest = storage.absolute(options.manifest) if options.manifest else demo_manifest()
    config = InferenceConfig(0, options.media, options.scene, options.face, options.compute)
    return measured(manifest, config, options.workers, options.rows, options.rounds, options.address)
