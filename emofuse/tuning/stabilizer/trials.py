"""What runs in a trial of the stabilizer's sweep; a module of its own, so that a trial starts quickly."""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import numpy as np
import ray
from ray import tune

from emofuse.config import FusionConfig, StabilizerConfig
from emofuse.tuning.stabilizer.grid import Grid
from emofuse.tuning.stabilizer.surface import SweepData, surface_of

Task = tuple[Grid, list[FusionConfig]]
"""One filter with a block of the grid."""

Rows = list[dict[str, Any]]


class Surface:
    """Collects the rows of all trials, on whichever node they ran."""

    def __init__(self) -> None:
        self._rows: dict[int, Rows] = {}

    def put(self, task: int, rows: Rows) -> None:
        """Keep a task's rows; a repeated task replaces its own."""
        self._rows[task] = rows

    def all(self) -> Rows:
        """Every row, in the order of the tasks."""
        return [row for task in sorted(self._rows) for row in self._rows[task]]


def run_trials(
    sweep_data: SweepData,
    tasks: list[Task],
    base: StabilizerConfig,
    step: float,
    bundle: np.ndarray,
    storage_path: str,
) -> tuple[Rows, dict[str, float], list[Exception]]:
    """Every task as a trial on the cluster that this process has joined.

    Args:
        sweep_data: the sequences.
        tasks: the sweep, divided.
        base: options that are not swept.
        step: height of the step that times a response.
        bundle: of each sequence its bundle of groups.
        storage_path: where Tune keeps its own files, in `tune` below it.

    Returns:
        The rows of all tasks in their order; what the trials took, `cpu_seconds` of all together and
        `peak_memory_mb` of the largest; and the errors.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Tune prints its own tables whatever `verbose` says
    surface: Any = ray.remote(num_cpus=0)(Surface).remote()
    data = ray.put((sweep_data, tasks, base, step, bundle))
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trial, data=[data], surface=surface), {"cpu": 1}),
        param_space={"task": tune.grid_search(list(range(len(tasks))))},
        tune_config=tune.TuneConfig(metric="best", mode="min", reuse_actors=True),
        run_config=tune.RunConfig(name="tune", storage_path=storage_path, verbose=0),
    )
    results = tuner.fit()
    told = [results[i].metrics or {} for i in range(len(results))]
    took = {
        "cpu_seconds": sum(float(one.get("cpu_seconds", 0.0)) for one in told),
        "peak_memory_mb": max(float(one.get("peak_memory_mb", 0.0)) for one in told),
    }
    return ray.get(surface.all.remote()), took, list(results.errors)


def trial(values: dict[str, Any], data: Any, surface: Any) -> None:
    """One trial: a task's rows go to `surface`, a summary to Tune."""
    sweep_data, tasks, base, step, bundle = ray.get(data[0])
    grid, fusions = tasks[values["task"]]
    started = time.process_time()
    rows = surface_of(sweep_data, fusions, grid, base, step, bundle)
    ray.get(surface.put.remote(values["task"], rows))
    target = "mae" if sweep_data.labelled else "jitter"
    tune.report(
        {
            "best": min(row[target] for row in rows),
            "configurations": len(rows),
            "filter": grid.filter,
            "cpu_seconds": time.process_time() - started,
            "peak_memory_mb": peak_memory(),
        }
    )


def peak_memory() -> float:
    """Most memory this process ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
