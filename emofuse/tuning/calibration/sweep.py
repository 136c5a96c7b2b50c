"""Ray Tune over calibrations, rules and gates: few trials, each with a large part of the grid inside.

A trial is one kind of mean calibration in one fold; penalties, variance recalibrations, rules and gates are
axes of the arrays in it. A trial for each configuration would spend its time on being started.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.config import CalibrationConfig, CalibrationSweepConfig
from emofuse.tuning.calibration.choice import surface_table
from emofuse.tuning.calibration.grid import Grid, full_grid
from emofuse.tuning.calibration.losses import BUNDLES, CrossValidationData, Task, run_task


@dataclass(frozen=True, eq=False)
class Swept:
    """A finished sweep.

    Attributes:
        surface: a row per configuration.
        grid: the configurations, in the surface's order.
        facts: configurations, trials, seconds, configurations per second, rows and groups.
    """

    surface: pa.Table
    grid: Grid
    facts: dict[str, Any]

    @property
    def chosen(self) -> int:
        """The number of the chosen configuration."""
        return self.surface.column("chosen").to_pylist().index(True)


def sweep(
    sweep_data: CrossValidationData,
    options: CalibrationSweepConfig,
    *,
    storage_path: str | None,
    address: str | None = None,
) -> Swept:
    """Fit and score every configuration in grouped cross-validation inside the sweep_data.

    Args:
        sweep_data: rows of the valid split.
        options: what to try.
        storage_path: where Tune keeps its own files, in `tune` below it; None runs in this process, without Ray.
        address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.

    Raises:
        DataError: if nothing can be fitted.
        EmofuseError: if a trial failed.
        KeyboardInterrupt: if fewer trials ended than there are tasks.
    """
    grid = full_grid(options, both=sweep_data.both, known=sweep_data.known)
    tasks = tasks_of(grid.calibrations, sweep_data.folds)
    started = time.perf_counter()
    if storage_path is None:
        parts = [run_task(sweep_data, grid, task, options.objective) for task in tasks]
    else:
        parts = tuned(sweep_data, grid, tasks, options.objective, storage_path, address)
    sums, counts = gathered(sweep_data, grid, tasks, parts)
    surface = surface_table(grid, sums, counts, options.objective)
    seconds = time.perf_counter() - started
    facts = {
        "configurations": len(grid),
        "calibrations": len(grid.calibrations),
        "trials": len(tasks),
        "folds": sweep_data.folds,
        "rows": int(sweep_data.scored.sum()),
        "groups": len(np.unique(sweep_data.groups[sweep_data.scored])),
        "objective": options.objective,
        "seconds": round(seconds, 3),
        "configurations_per_second": round(len(grid) / seconds, 1),
    }
    return Swept(surface, grid, facts)


def tasks_of(calibrations: Sequence[CalibrationConfig], folds: int) -> list[Task]:
    """One task for each fold and each run of calibrations of one mean and loss."""
    spans, start = [], 0
    for _, run in groupby(calibrations, key=lambda each: (each.mean, each.loss)):
        stop = start + len(list(run))
        spans.append((start, stop))
        start = stop
    return [(fold, *span) for span in spans for fold in range(folds)]


def gathered(
    sweep_data: CrossValidationData, grid: Grid, tasks: Sequence[Task], parts: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The losses of all tasks as (configurations, folds x BUNDLES), and the rows of each bundle."""
    each = len(grid.fusions) * len(grid.gates)
    sums = np.empty((len(grid), sweep_data.folds * BUNDLES), dtype=np.float32)
    for (fold, start, stop), part in zip(tasks, parts, strict=True):
        sums[start * each : stop * each, fold * BUNDLES : (fold + 1) * BUNDLES] = part
    return sums, np.concatenate([sweep_data.bundles(fold) for fold in range(sweep_data.folds)])


def tuned(
    sweep_data: CrossValidationData,
    grid: Grid,
    tasks: Sequence[Task],
    objective: str,
    storage_path: str,
    address: str | None,
) -> list[np.ndarray]:
    """The losses of every task, each a trial of Ray Tune, in their order.

    Raises:
        EmofuseError: if a trial failed.
        KeyboardInterrupt: if fewer trials ended than there are tasks.
    """
    from emofuse.inference.cluster import ray_cluster

    with ray_cluster(address):
        from emofuse.tuning.trials import run_tasks

        work = [partial(run_task, grid=grid, task=task, objective=objective) for task in tasks]
        return run_tasks(work, sweep_data, storage_path)[0]
