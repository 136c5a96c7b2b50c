"""What runs in a trial of the calibration's sweep."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray import tune

from emofuse.tuning.calibration.grid import Grid
from emofuse.tuning.calibration.losses import CrossValidationData, Task, run_task


class Losses:
    """Collects the losses of all trials, on whichever node they ran."""

    def __init__(self) -> None:
        self._parts: dict[int, np.ndarray] = {}

    def put(self, number: int, losses: np.ndarray) -> None:
        """Keep a task's losses; a repeated task replaces its own."""
        self._parts[number] = losses

    def all(self) -> list[np.ndarray]:
        """The losses of every task, in their order."""
        return [self._parts[number] for number in sorted(self._parts)]


def run_trials(
    sweep_data: CrossValidationData, grid: Grid, tasks: Sequence[Task], objective: str, storage_path: str
) -> tuple[list[np.ndarray], list[Exception]]:
    """Every task as a trial on the cluster that this process has joined.

    Args:
        sweep_data: the rows.
        grid: the configurations.
        tasks: parts of it.
        objective: what is minimised.
        storage_path: where Tune keeps its own files, in `tune` below it.

    Returns:
        The losses of all tasks in their order, and the errors.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Tune prints its own tables whatever `verbose` says
    collector: Any = ray.remote(num_cpus=0)(Losses).remote()
    # One copy in the object store: every trial maps it and none carries it.
    data = ray.put((sweep_data, grid, list(tasks), objective))
    trainable = tune.with_parameters(trial, data=[data], collector=collector)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"task": tune.grid_search(list(range(len(tasks))))},
        # Starting an actor takes seconds, a task often less.
        tune_config=tune.TuneConfig(metric="best", mode="min", reuse_actors=True),
        run_config=tune.RunConfig(name="tune", storage_path=storage_path, verbose=0),
    )
    results = tuner.fit()
    return ray.get(collector.all.remote()), list(results.errors)


def trial(values: dict[str, Any], data: Any, collector: Any) -> None:
    """One trial: a task's losses go to `collector`, a summary to Tune."""
    sweep_data, grid, tasks, objective = ray.get(data[0])
    started = time.perf_counter()
    losses = run_task(sweep_data, grid, tasks[values["task"]], objective)
    ray.get(collector.put.remote(values["task"], losses))
    fold, start, stop = tasks[values["task"]]
    layers = grid.calibrations[start]
    tune.report(
        {
            "best": float(np.nanmin(losses.sum(axis=1))) / max(int(sweep_data.bundles(fold).sum()), 1),
            "configurations": len(losses),
            "fold": fold,
            "mean": layers.mean,
            "loss": layers.loss,
            "calibrations": stop - start,
            "seconds": time.perf_counter() - started,
        }
    )
