#!/usr/bin/env python
"""A sweep of more than 10,000 configurations over 100,000 frames: time, rate, memory, and agreement with the steps.

    python tests/proof/stabilizer.py [--sequences 200] [--frames 500] [--sample 6] [--out FOLDER]

Makes labelled sequences of two experts from a seed, sweeps them on Ray Tune, then runs a sample of the
configurations through the step form, frame by frame, and compares every figure of the surface.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from emofuse.config import FusionConfig, StabilizerConfig, SweepConfig
from emofuse.metrics.accuracy import concordance, mae
from emofuse.metrics.stability import hold_rate
from emofuse.stabilizer import make_stabilizer
from emofuse.tuning.stabilizer.run import StabilizerSweep, chosen_options
from emofuse.tuning.stabilizer.surface import SweepData

SWEEP = SweepConfig(
    alpha=tuple(np.linspace(0.5, 0.8, 16).round(3).tolist()),
    threshold=tuple(np.linspace(0.3, 0.7, 9).round(3).tolist()),
    threshold_quantile=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
    process_scale=tuple(np.geomspace(0.01, 30, 24).tolist()),
    min_cutoff=(0.3, 0.5, 1.0, 2.0, 4.0),
    beta=(0.0, 0.1, 0.5, 1.0, 2.0),
)
FUSION = FusionConfig(method="inverse_variance")


@dataclass(frozen=True)
class Options:
    """Size of the proof."""

    sequences: int = 200
    """Sequences."""
    frames: int = 500
    """Frames of each."""
    sample: int = 6
    """Configurations to run through the step form besides the chosen one."""
    out: Path | None = None
    """Where proof.json and Tune's files go; by default a folder that is removed."""


def sweep_data(sequences: int, frames: int, seed: int = 0) -> SweepData:
    """A slow drift seen by two experts through noise of known variance; faces missing from a fifth of the frames."""
    rng = np.random.default_rng(seed)
    n = sequences * frames
    drift = np.cumsum(rng.normal(0, 0.02, (sequences, frames, 2)), axis=1).clip(-0.9, 0.9).reshape(n, 2)
    variance = rng.gamma(2.0, 0.06, (2, n, 2)) + 0.01
    mean = (drift + rng.normal(size=(2, n, 2)) * np.sqrt(variance)).clip(-1, 1)
    mean[1, rng.random(n) < 0.2] = np.nan
    variance[np.isnan(mean)] = np.nan
    rows = np.split(np.arange(n), sequences)
    time_of = np.tile(np.arange(frames) / 30, sequences)
    return SweepData(
        mean, variance, rng.uniform(0.4, 1, n), rng.uniform(20, 220, n), drift, time_of, rows, np.arange(sequences), {}
    )


def stepped(data: SweepData, row: dict, base: StabilizerConfig) -> dict[str, float]:
    """The figures of one configuration by the step form and the metrics of whole series."""
    config, fusion = chosen_options(row, base, FUSION)
    mean, variance = data.fused(fusion)
    out, held = np.full(mean.shape, np.nan), np.zeros(mean.shape, bool)
    for rows in data.rows:
        stabilizer = make_stabilizer(config)
        for i in rows:
            out[i] = stabilizer.update(mean[i], variance[i], data.timestamp[i]).mean
            held[i] = stabilizer.held
    steps = np.concatenate([np.abs(np.diff(out[rows], axis=0)) for rows in data.rows])
    return {
        "mae": float(np.mean(mae(data.truth, out))),
        "ccc": float(np.mean(concordance(data.truth, out))),
        "jitter": float(np.nanmean(steps, axis=0).mean()),
        "hold_rate": float(np.mean(hold_rate(held))),
    }


def prove(options: Options, folder: Path, console: Console) -> dict:
    """Sweep, compare, and return what was measured."""
    data = sweep_data(options.sequences, options.frames)
    tuning = StabilizerSweep(SWEEP, console=console)
    started = time.perf_counter()
    surface, facts = tuning.surface(data, FUSION, out=str(folder.absolute()))
    facts["wall_seconds_with_cluster_start"] = time.perf_counter() - started
    rows = [row for row in surface.to_pylist() if row["filter"] != "none"]
    rng = np.random.default_rng(1)
    picked = [0, *rng.choice(np.arange(1, len(rows)), options.sample, replace=False)]
    worst, slow = 0.0, 0.0
    for i in picked:
        began = time.perf_counter()
        there = stepped(data, rows[int(i)], tuning.base)
        slow += time.perf_counter() - began
        worst = max(worst, *(abs(there[name] - rows[int(i)][name]) for name in there))
    facts["compared"] = len(picked)
    facts["largest_difference_to_the_steps"] = worst
    facts["step_form_configuration_frames_per_second"] = len(picked) * data.frames / slow
    chosen = next(row for row in surface.to_pylist() if row["chosen"])
    facts["chosen"] = {name: chosen[name] for name in ("filter", "alpha", "mae", "jitter", "response_time")}
    return facts


def main(options: Options) -> None:
    """Run the proof and show it."""
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        facts = prove(options, folder, console)
        (folder / "proof.json").write_text(json.dumps(facts, indent=2))
    shown = Table(title="sweep of the stabilizer", show_header=False)
    for name, value in facts.items():
        shown.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else str(value))
    console.print(shown)
    if facts["largest_difference_to_the_steps"] > 1e-9:
        raise SystemExit("the vectorised form and the steps disagree")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
