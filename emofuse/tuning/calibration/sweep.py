"""Ray Tune over layers, rules and gates: few trials, each with a large part of what is tried inside.

Three stages, each in grouped cross-validation inside the sweep_data. First the mean calibration of every expert and
axis, by its own error; then its variance recalibration, by a proper score of its own; then, behind these, the
rule and the gates that join the experts. So choices multiply no fits: a product of all of them would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.config import CalibrationConfig, CalibrationSweepConfig, FusionConfig
from emofuse.tables.schema import EXPERTS
from emofuse.tuning.calibration.choice import layers_table, measured, surface_table
from emofuse.tuning.calibration.grid import (
    MEAN_PARAMETERS,
    VARIANCE_PARAMETERS,
    mean_candidates,
    of_both_axes,
    rule_grid,
)
from emofuse.tuning.calibration.layer_losses import mean_losses, variance_losses
from emofuse.tuning.calibration.losses import CrossValidationData, Task, rule_losses

Runner = Callable[[Sequence[Task]], list[np.ndarray]]
"""The losses of every task, in their order."""


@dataclass(frozen=True, eq=False)
class Swept:
    """A finished sweep.

    Attributes:
        surface: a row per rule and gates, behind the chosen layers.
        tried: a row per layer of every expert and axis.
        layers: by expert, as chosen.
        fusion: the rule and gates, as chosen.
        facts: configurations, trials, seconds, configurations per second, rows and groups.
    """

    surface: pa.Table
    tried: pa.Table
    layers: dict[str, CalibrationConfig]
    fusion: FusionConfig
    facts: dict[str, Any]

    @property
    def chosen(self) -> int:
        """The number of the chosen rule and gates."""
        return int(self.surface.column("chosen").to_pylist().index(True))


def sweep(
    sweep_data: CrossValidationData,
    options: CalibrationSweepConfig,
    *,
    storage_path: str | None,
    address: str | None = None,
) -> Swept:
    """Choose layers for each expert and axis, then the rule and gates behind them.

    Args:
        sweep_data: rows of the valid split.
        options: what to try.
        storage_path: where Tune keeps its own files, in `tune` below it; None runs in this process, without Ray.
        address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.

    Raises:
        ConfigError: if the options leave nothing to try.
        DataError: if nothing can be fitted.
        EmofuseError: if a trial failed.
        KeyboardInterrupt: if fewer trials ended than there are tasks.
    """
    if storage_path is None:
        return staged(sweep_data, options, lambda tasks: [task(sweep_data) for task in tasks])
    from emofuse.inference.cluster import ray_cluster

    with ray_cluster(address):
        return staged(sweep_data, options, lambda tasks: tuned(sweep_data, tasks, storage_path))


def staged(sweep_data: CrossValidationData, options: CalibrationSweepConfig, run: Runner) -> Swept:
    """The three stages, their tasks run by `run`."""
    grid = rule_grid(options, both=sweep_data.both)
    candidates = mean_candidates(options, few_values=sweep_data.few_values)
    started = time.perf_counter()
    means, tried, trials = _choose_means(sweep_data, candidates, options, run)
    layers, rows, more = _choose_variances(sweep_data, means, options, run)
    tried += rows
    tasks = [
        partial(rule_losses, fold=fold, layers=layers, grid=grid, objective=options.objective)
        for fold in range(sweep_data.folds)
    ]
    sums = np.concatenate(run(tasks), axis=-1)
    surface = surface_table(grid, sums, sweep_data.bundles(sweep_data.scored), options.objective)
    seconds, count = time.perf_counter() - started, len(tried) + len(grid)
    facts = {
        "configurations": count,
        "layers": len(tried),
        "rules_and_gates": len(grid),
        "trials": trials + more + len(tasks),
        "folds": sweep_data.folds,
        "rows": int(sweep_data.scored.sum()),
        "groups": len(np.unique(sweep_data.groups[sweep_data.scored])),
        "objective": options.objective,
        "seconds": round(seconds, 3),
        "configurations_per_second": round(count / seconds, 1),
    }
    chosen = grid[int(surface.column("chosen").to_pylist().index(True))]
    return Swept(surface, layers_table(tried), layers, chosen, facts)


def _choose_means(
    sweep_data: CrossValidationData, candidates: list[CalibrationConfig], options: CalibrationSweepConfig, run: Runner
) -> tuple[dict[tuple[str, int], CalibrationConfig], list[dict[str, Any]], int]:
    """The mean calibration of every expert and axis, all that was tried, and the number of tasks."""
    spans = [list(each) for _, each in groupby(candidates, key=lambda each: each.mean)]
    tasks: list[Task] = [
        partial(mean_losses, fold=fold, candidates=span, objective=options.objective)
        for span in spans
        for fold in range(sweep_data.folds)
    ]
    parts = iter(run(tasks))
    sums = np.concatenate([np.concatenate([next(parts) for _ in range(sweep_data.folds)], axis=-1) for _ in spans])
    free = [MEAN_PARAMETERS[str(each.mean)] for each in candidates]
    by = "mae" if options.objective == "mae" else "mse"
    tried = [{"layer": "mean", "kind": e.mean, "loss": e.loss, "l2": e.l2, "measured_by": by} for e in candidates]
    chosen, rows = _chosen_of_each(sweep_data, sums, free, tried)
    return {place: candidates[number] for place, number in chosen.items()}, rows, len(tasks)


def _choose_variances(
    sweep_data: CrossValidationData,
    means: dict[tuple[str, int], CalibrationConfig],
    options: CalibrationSweepConfig,
    run: Runner,
) -> tuple[dict[str, CalibrationConfig], list[dict[str, Any]], int]:
    """The layers of every expert with the variance recalibration of each axis, all that was tried, and the tasks."""
    kinds = list(dict.fromkeys(options.variances))
    heard = list(dict.fromkeys(name for name, _ in means))
    layers = {name: of_both_axes([means[name, i] for i in range(len(AXES))]) for name in heard}
    tasks: list[Task] = [
        partial(variance_losses, fold=fold, layers=layers, kinds=kinds, objective=options.objective)
        for fold in range(sweep_data.folds)
    ]
    sums = np.concatenate(run(tasks), axis=-1)
    by = "nll" if options.objective == "nll" else "crps"
    tried = [{"layer": "variance", "kind": kind, "loss": None, "l2": None, "measured_by": by} for kind in kinds]
    chosen, rows = _chosen_of_each(sweep_data, sums, [VARIANCE_PARAMETERS[kind] for kind in kinds], tried)
    both = {
        name: of_both_axes([replace(means[name, i], variance=kinds[chosen[name, i]]) for i in range(len(AXES))])
        for name in heard
    }
    return both, rows, len(tasks)


def _chosen_of_each(
    sweep_data: CrossValidationData, sums: np.ndarray, free: Sequence[int], tried: Sequence[dict[str, Any]]
) -> tuple[dict[tuple[str, int], int], list[dict[str, Any]]]:
    """For each expert that speaks and each axis the number of the choice, and a row for each candidate.

    Args:
        sweep_data: the rows.
        sums: (candidates, 2 experts x 2 axes, folds x BUNDLES).
        free: of each candidate.
        tried: what each candidate is.
    """
    chosen, rows = {}, []
    for i, name in enumerate(EXPERTS):
        if not sweep_data.heard[i].any():
            continue
        counts = sweep_data.bundles(sweep_data.heard[i])
        for axis, axis_name in enumerate(AXES):
            losses = sums[:, len(AXES) * i + axis]
            if not np.isfinite(losses[:, counts > 0].sum(axis=1)).any():
                # Too few rows of this expert to choose on: the simplest, which the rules may still make nothing of.
                chosen[name, axis] = int(np.argmin(free))
                continue
            found = measured(losses, counts, free)
            chosen[name, axis] = int(np.flatnonzero(found["chosen"])[0])
            rows += [
                {"expert": name, "axis": axis_name, **each, **{key: found[key][k] for key in found}}
                for k, each in enumerate(tried)
            ]
    return chosen, rows


def tuned(sweep_data: CrossValidationData, tasks: Sequence[Task], storage_path: str) -> list[np.ndarray]:
    """The losses of every task, each a trial of Ray Tune on the cluster that was joined, in their order.

    Raises:
        EmofuseError: if a trial failed.
        KeyboardInterrupt: if fewer trials ended than there are tasks.
    """
    from emofuse.tuning.trials import run_tasks

    return run_tasks(tasks, sweep_data, storage_path)[0]
