"""Trials on Ray Tune: a list of tasks worked off, or a search; a sweep that was interrupted is never a result."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray import tune

from emofuse.errors import EmofuseError
from emofuse.io import storage

Data = TypeVar("Data")
Result = TypeVar("Result")


class Collector:
    """Keeps the results of all trials, on whichever node they ran."""

    def __init__(self) -> None:
        self._results: dict[int, Any] = {}

    def put(self, task: int, result: Any) -> None:
        """Keep a task's result; a repeated task replaces its own."""
        self._results[task] = result

    def all(self) -> list[Any]:
        """Every result, in the order of the tasks."""
        return [self._results[task] for task in sorted(self._results)]


def run_tasks(
    tasks: Sequence[Callable[[Data], Result]], data: Data, storage_path: str
) -> tuple[list[Result], dict[str, float]]:
    """Every task as a trial of one CPU on the cluster that this process has joined.

    Args:
        tasks: what is worked out; each can be pickled.
        data: what they work on, which every trial maps and none carries.
        storage_path: where Tune keeps its own files, in `tune` below it, until all is done.

    Returns:
        The results in the order of the tasks; and what the trials took, `cpu_seconds` of all together and
        `peak_memory_mb` of the largest.

    Raises:
        EmofuseError: if a trial failed.
        KeyboardInterrupt: if fewer trials ended than there are tasks.
    """
    collector: Any = ray.remote(num_cpus=0)(Collector).remote()
    shared = ray.put((data, list(tasks)))
    results = fit(
        tune.with_parameters(_trial, shared=[shared], collector=collector),
        {"cpu": 1},
        {"task": tune.grid_search(list(range(len(tasks))))},
        # Starting an actor takes seconds, a task often less.
        tune.TuneConfig(reuse_actors=True),
        storage_path,
        len(tasks),
    )
    if results.errors:
        raise EmofuseError(f"{results.num_errors} of {len(tasks)} trials failed, first: {results.errors[0]}")
    # Tune's own files, five a trial, say nothing that the results do not.
    files, path = storage.filesystem(storage.join(storage_path, "tune"))
    files.rm(path, recursive=True)
    told = [results[number].metrics or {} for number in range(len(results))]
    took = {
        "cpu_seconds": sum(float(each["cpu_seconds"]) for each in told),
        "peak_memory_mb": max(float(each["peak_memory_mb"]) for each in told),
    }
    return ray.get(collector.all.remote()), took


def fit(
    trainable: Any,
    resources: dict[str, float],
    param_space: dict[str, Any],
    config: tune.TuneConfig,
    storage_path: str,
    trials: int,
) -> tune.ResultGrid:
    """Run so many trials; those that failed are among the results.

    Args:
        trainable: what a trial runs.
        resources: of a trial.
        param_space: what the trials differ in.
        config: the search.
        storage_path: where Tune keeps its own files, in `tune` below it.
        trials: how many are asked for.

    Raises:
        KeyboardInterrupt: if fewer ended: Tune takes an interrupt for the end of a run.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Tune prints its own tables whatever `verbose` says
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space=param_space,
        tune_config=config,
        run_config=tune.RunConfig(name="tune", storage_path=storage_path, verbose=0),
    )
    results = tuner.fit()
    each = [results[number] for number in range(len(results))]
    ended = sum(bool(one.error or (one.metrics or {}).get("done")) for one in each)
    if ended < trials:
        raise KeyboardInterrupt(f"{ended} of {trials} trials ended")
    return results


def peak_memory() -> float:
    """Most memory this process ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _trial(values: dict[str, Any], shared: Any, collector: Any) -> None:
    """One trial: a task's result goes to `collector`, what it took to Tune."""
    data, tasks = ray.get(shared[0])
    started = time.process_time()
    result = tasks[values["task"]](data)
    ray.get(collector.put.remote(values["task"], result))
    tune.report({"cpu_seconds": time.process_time() - started, "peak_memory_mb": peak_memory()})
