"""What runs in a trial of the calibration's sweep."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray import tune

from emofuse.tuning.calibration.losses import CrossValidationData, Task


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
    sweep_data: CrossValidationData, tasks: Sequence[Task], storage_path: str
) -> tuple[list[np.ndarray], list[Exception]]:
    """Every task as a trial on the cluster that this process has joined.

    Args:
        sweep_data: the rows.
        tasks: what is worked out, each for one fold.
        storage_path: where Tune keeps its own files, in `tune` below it.

    Returns:
        The losses of all tasks in their order, and the errors.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Tune prints its own tables whatever `verbose` says
    collector: Any = ray.remote(num_cpus=0)(Losses).remote()
    # One copy in the object store: every trial maps it and none carries it.
    data = ray.put((sweep_data, list(tasks)))
    trainable = tune.with_parameters(trial, data=[data], collector=collector)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"task": tune.grid_search(list(range(len(tasks))))},
        # Starting an actor takes seconds, a task often less.
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(name="tune", storage_path=storage_path, verbose=0),
    )
    results = tuner.fit()
    return ray.get(collector.all.remote()), list(results.errors)


def trial(values: dict[str, Any], data: Any, collector: Any) -> None:
    """One trial: a task's losses go to `collector`, how long it took to Tune."""
    sweep_data, tasks = ray.get(data[0])
    started = time.perf_counter()
    losses = tasks[values["task"]](sweep_data)
    ray.get(collector.put.remote(values["task"], losses))
    tune.report({"configurations": len(losses), "seconds": time.perf_counter() - started})
