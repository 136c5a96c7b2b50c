"""A small fused run and a sweep over it, for the notebook and for looking at the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from emofuse.config import EvaluationConfig, SweepConfig
from emofuse.evaluation.evaluate_table import evaluate_table
from emofuse.io import storage
from emofuse.runs.run import Run
from emofuse.tables.schema import PREDICTIONS, conform
from emofuse.tuning.stabilizer.run import StabilizerSweep

SWEEP = SweepConfig(
    alpha=(0.3, 0.7),
    threshold=(0.4,),
    threshold_quantile=(0.9,),
    process_scale=(0.1, 1.0),
    min_cutoff=(1.0,),
    beta=(0.5,),
    min_face_score=(0.5,),
    max_face_std=(),
    min_luma=(),
)
"""One or two values of everything: 24 configurations."""


def predictions(
    *, labelled: bool = True, sequences: int = 6, frames: int = 60, noise: float = 0.2, seed: int = 0
) -> pa.Table:
    """Two experts that see a slow drift through noise, half of it in valid; some faces missing, some doubtful."""
    rng = np.random.default_rng(seed)
    n = sequences * frames
    drift = np.cumsum(rng.normal(0, 0.02, (sequences, frames, 2)), axis=1).clip(-0.9, 0.9).reshape(n, 2)
    spread = rng.uniform(0.3, 1.7, (2, n, 2)) * noise**2
    seen = drift + rng.normal(size=(2, n, 2)) * np.sqrt(spread)
    seen[1, rng.random(n) < 0.2] = np.nan
    names = np.repeat([f"s{i}" for i in range(sequences)], frames)
    rows = {
        "sample_id": [f"r{i:05}" for i in range(n)],
        "uri": ["clip.mp4"] * n,
        "frame_index": np.tile(np.arange(frames), sequences),
        "timestamp": np.tile(np.arange(frames) / 25, sequences),
        "sequence": names,
        "group": names,
        "split": np.repeat(["valid", "test"], [n // 2, n - n // 2]),
        "face_score": rng.uniform(0.3, 1, n),
        "luma": rng.uniform(20, 200, n),
        "in_sample": np.zeros(n, bool),
        "status": ["ok"] * n,
    }
    for i, axis in enumerate(("valence", "arousal")):
        if labelled:
            rows[axis] = drift[:, i]
        for k, expert in enumerate(("scene", "face")):
            rows[f"{expert}_{axis}"] = seen[k, :, i]
            rows[f"{expert}_{axis}_variance"] = np.where(np.isnan(seen[k, :, i]), np.nan, spread[k, :, i])
    columns = {
        name: pa.array(values, from_pandas=True).cast(PREDICTIONS.field(name).type) for name, values in rows.items()
    }
    return conform(pa.table(columns), PREDICTIONS, "predictions")


def fused_run(folder: Path, table: pa.Table, **evaluating: object) -> str:
    """A run directory with a fused table and the options that made it, as the main job leaves it."""
    run = Run(str(folder))
    storage.write_table(storage.join(run.fused, "part-0.parquet"), table)
    run.save({"emofuse": "0", "config": {"evaluate": evaluating}})
    return run.address


def make_sweep(folder: Path) -> Path:
    """A finished sweep below `folder`."""
    fused = evaluate_table(predictions(), EvaluationConfig(split="all")).fused
    source = fused_run(folder / "run", fused, fusion={"method": "auto"})
    return Path(StabilizerSweep(SWEEP, local=True).run(source, str(folder / "sweep")).address)
