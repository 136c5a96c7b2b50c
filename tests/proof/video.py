#!/usr/bin/env python
"""A video of 100,000 small frames, decoded for real and evaluated with timed experts, within bounded memory.

    python tests/proof/video.py [--frames 100000] [--size 64] [--seconds-per-batch 0.0] [--out FOLDER]

Each frame is of a grey that follows from its number, so that every image that arrives can be checked.
Decoding and the graph are the job's own; only the networks are replaced by a wait. Memory is what this process and
all that it starts hold for themselves, sampled all along, and must not grow with the number of frames.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pyarrow as pa
import tyro
from rich.console import Console
from rich.table import Table

from emofuse.benchmark.simulate import TimedExperts
from emofuse.config import ComputeConfig, EvaluationConfig, FaceConfig, InferenceConfig
from emofuse.datasets import videos
from emofuse.evaluation.evaluate_table import evaluate_table
from emofuse.inference.cluster import ray_cluster
from emofuse.inference.decode import decode
from emofuse.inference.ray_graph import Stages, build_graph, predict_stage, write
from emofuse.inference.resources import plan
from emofuse.inference.run import Job
from emofuse.io import storage
from emofuse.io.video import read_frames

RATE = 30
LEVELS = 20
EVERY = 0.5
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Options:
    """Size of the proof."""

    frames: int = 100_000
    """Frames of the video."""
    size: int = 64
    """Width and height in pixels."""
    seconds_per_batch: float = 0.0
    """What the timed experts wait for each batch of 32."""
    out: Path | None = None
    """Where the video, the predictions and proof.json go; by default a folder that is removed."""


def grey(frame: int | np.ndarray) -> Any:
    """The level that a frame shows; neighbours differ by more than coding does."""
    return 20 + (frame * 7) % LEVELS * 11


def film(path: Path, frames: int, size: int) -> None:
    """Write the video, H.264 with frames coded out of order and a keyframe every 250."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "bf": "2", "crf": "18"})
        stream.width = stream.height = size
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 250
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((size, size), grey(i), np.uint8), format="gray")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode())


class Memory:
    """What this process and all that it started hold for themselves, at most, in MB; and the shared object store."""

    def __init__(self) -> None:
        self.private, self.shared, self._stop = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(EVERY):
            private = shared = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    held = process.memory_info()
                except psutil.Error:
                    continue
                private += held.rss - held.shared
                shared = max(shared, held.shared)
            self.private, self.shared = max(self.private, private / 2**20), max(self.shared, shared / 2**20)


class CheckedExperts(TimedExperts):
    """Timed experts that compare the luma of each frame with what its number should look like."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As `TimedExperts`, with the error of each frame that shows something else."""
        shown = batch.column("luma").to_numpy()
        number = batch.column("frame_index").to_numpy()
        wrong = ~(np.abs(shown - grey(number)) < 5)
        out = super().__call__(batch)
        errors = pa.array(np.where(wrong, "shows another frame", None), pa.string())
        return out.set_column(out.schema.get_field_index("error"), "error", errors)


def prove(options: Options, folder: Path) -> dict[str, Any]:
    """Film, prepare, decode, evaluate; and what was measured."""
    facts: dict[str, Any] = {"frames": options.frames}
    clip = folder / "clips" / "long.mp4"
    clip.parent.mkdir(parents=True)
    film(clip, options.frames, options.size)
    facts["file_mb"] = clip.stat().st_size / 2**20
    with Memory() as memory:
        started = time.perf_counter()
        storage.write_table(str(folder / "manifest.parquet"), videos.build(str(clip.parent)).table)
        facts["seconds_to_list_frames"] = time.perf_counter() - started
        started = time.perf_counter()
        facts["decoded_alone"] = sum(1 for _ in read_frames(str(clip), 0, min(5000, options.frames)))
        facts["frames_per_second_alone"] = facts["decoded_alone"] / (time.perf_counter() - started)
        config = InferenceConfig(face=FaceConfig(expert="none"), compute=ComputeConfig(device="cpu"))
        with ray_cluster() as cluster:
            width = plan(config.compute, cluster, options.frames)
            decoding = {"fn": decode, "fn_kwargs": {"config": config}, "num_cpus": width.task_cpus}
            experts = (options.seconds_per_batch, config.compute.batch_size)
            stages = Stages(decoding, predict_stage(width, CheckedExperts, experts))
            job = Job(str(folder / "manifest.parquet"), str(folder / "predictions"), config, width, {})
            started = time.perf_counter()
            write(build_graph(job, None, stages), job)
            seconds = time.perf_counter() - started
        facts |= {"rows_per_block": width.rows_per_block, "seconds_to_predict": seconds}
        facts["frames_per_second"] = options.frames / seconds
        started = time.perf_counter()
        predictions = storage.read_table(str(folder / "predictions"))
        fused = evaluate_table(predictions, EvaluationConfig()).fused.sort_by("frame_index")
        facts["seconds_to_evaluate"] = time.perf_counter() - started
    frames = fused.column("frame_index").to_numpy()
    facts["rows"] = fused.num_rows
    facts["every_frame_once"] = bool((frames == np.arange(options.frames)).all())
    times = fused.column("timestamp").to_numpy()
    facts["largest_error_of_time"] = float(np.abs(times - np.arange(options.frames) / RATE).max())
    facts["errors"] = fused.column("error").drop_null().value_counts().to_pylist()
    facts["smoothed"] = fused.num_rows - fused.column("smoothed_valence").null_count
    facts["peak_private_memory_mb"], facts["peak_shared_memory_mb"] = memory.private, memory.shared
    return facts


def main(options: Options) -> None:
    """Run the proof and show it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        facts = prove(options, folder)
        (folder / "proof.json").write_text(json.dumps(facts, indent=2))
    shown = Table(title="a long video", show_header=False)
    for name, value in facts.items():
        shown.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else str(value))
    Console().print(shown)
    if not facts["every_frame_once"] or facts["errors"]:
        raise SystemExit("frames are missing, doubled, or show something else")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
