"""Ray Tune over filters, their parameters and the fusion's gates, from a stored fused table.

A trial costs tens of milliseconds to start and a configuration microseconds, so a trial is one
filter with a block of the grid, vectorised; the whole surface comes back, not one best value.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from emofuse.calibration import Calibration
from emofuse.config import FusionConfig, StabilizerConfig, SweepConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.fused_variance import is_constant
from emofuse.fusion.select import chosen_fusion
from emofuse.inference.cluster import ray_cluster
from emofuse.inference.sink import table_fingerprint
from emofuse.io import storage
from emofuse.io.addresses import display_uri
from emofuse.report import build_report
from emofuse.runs import run as runs
from emofuse.runs.run import Run
from emofuse.stabilizer import Autocorrelation, Timing, fit_process_variance
from emofuse.stabilizer.tuned import GATES, TunedStabilizer
from emofuse.tables.columns import both, texts
from emofuse.tables.schema import FUSED, conform
from emofuse.tuning.one_standard_error import assign
from emofuse.tuning.stabilizer.choice import RULE, evaluated
from emofuse.tuning.stabilizer.grid import Grid, filter_grids, fusion_grid
from emofuse.tuning.stabilizer.scoring import pack
from emofuse.tuning.stabilizer.sentences import FILE, sentences
from emofuse.tuning.stabilizer.surface import PAIRS, SweepData, rows_of, surface_of
from emofuse.tuning.trials import peak_memory, run_tasks

MIN_WORK = 20_000_000
"""Configurations x frames that a trial should have: about the second that starting one costs."""

SAME = 1e-5
"""Stored tables are float32: a fusion made again agrees with the stored one within this."""


@dataclass(frozen=True)
class StabilizerSweep:
    """A sweep of the stabilizer.

    Attributes:
        sweep: what is tried.
        base: options that are not swept.
        split: on which configurations are compared; None takes valid where there is one, else all but test.
        local: in this process, without Ray.
        address: of the Ray cluster to join; by default RAY_ADDRESS, else one is started here.
        console: where the result is shown.
    """

    sweep: SweepConfig = field(default_factory=SweepConfig)
    base: StabilizerConfig = field(default_factory=StabilizerConfig)
    split: str | None = None
    local: bool = False
    address: str | None = None
    console: Console = field(default_factory=Console)

    def run(self, fused: str, out: str) -> Run:
        """Sweep, and write `surface.parquet`, `pareto.parquet`, `stabilizer.json`, `run.json` and the report.

        Args:
            fused: the fused folder of a run, or the run's directory.
            out: the run directory of this sweep.

        Raises:
            DataError: if the table holds no sequences, or was fused in a way its run does not tell.
            ConfigError: if the directory holds another run, or test is asked for.
        """
        if self.split == "test":
            raise ConfigError("a stabilizer is not tuned on 'test', which is read once: tune it on valid")
        source, origin = _source(storage.absolute(fused))
        table = conform(storage.read_table(source), FUSED, "fused table")
        run = Run(runs.check_output(out))
        mark = runs.fingerprint(table_fingerprint(table), self.sweep, self.base, self.split)
        record = {**run.open({"tune": mark}), **runs.provenance()}
        if run.finished:
            line = f"{display_uri(run.address)}: finished already; nothing was done"
            self.console.print(line, highlight=False, soft_wrap=True)
            return run
        calibration, fusion = _as_fused(origin)
        split = self.split or ("valid" if "valid" in table.column("split").unique().to_pylist() else "all")
        sweep_data = SweepData.of(table, split, calibration)
        used = rows_of(table, split)
        _check_fusion(sweep_data, used, fusion)
        surface, facts = self.surface(sweep_data, fusion, out=run.address)
        facts["labels_in_sample"] = bool(np.isfinite(both(used)).any() and not sweep_data.labelled)
        chosen = surface.filter(surface.column("chosen")).to_pylist()[0]
        correlations = sweep_data.autocorrelations(chosen_options(chosen, self.base, fusion)[1], facts["frame_rate"])
        stabilizer, gated = chosen_options(chosen, self.base, fusion, correlations.get("fused"))
        facts["autocorrelation"] = {name: _as_options(each) for name, each in correlations.items()}
        record |= {"fused": source, "split": split, "sweep": facts, "config": {"tune": asdict(self.sweep)}}
        measured = {name: value for name, value in chosen.items() if value not in (None, np.inf)}
        options = {"stabilizer": asdict(stabilizer), "fusion": asdict(gated)}
        record |= {"chosen": {**options, "measured": measured, "rule": RULE}}
        ids = texts(used, "sample_id")[np.concatenate(sweep_data.rows)]
        about = {"split": split, "fingerprint": table_fingerprint(used), "groups": facts["groups"]}
        tuned = TunedStabilizer.of(stabilizer, gated, ids, **about)
        _write(run, surface, record, tuned)
        for line in sentences(facts, chosen, run.address):
            self.console.print(line, highlight=False, soft_wrap=True)
        return run

    def surface(self, sweep_data: SweepData, fusion: FusionConfig, out: str) -> tuple[pa.Table, dict[str, Any]]:
        """Every configuration's row, the best first, and what the sweep took.

        Args:
            sweep_data: the sequences.
            fusion: their fusion; its gates are swept.
            out: where Tune keeps its own files, in `tune` below it.
        """
        base, rate = self.base, sweep_data.frame_rate(self.base.frame_rate)
        flat = is_constant(sweep_data.variance[1]).any()  # a deviation that never changes is no gate
        fusions = fusion_grid(replace(self.sweep, max_face_std=()) if flat else self.sweep, fusion)
        mean, variance = sweep_data.fused(fusions[0])
        likeliest = _likeliest(sweep_data, mean, variance, Timing(rate, base.max_gap, base.max_hold))
        grids = filter_grids(self.sweep, variance[np.concatenate(sweep_data.rows)], likeliest)
        bundle, fold = assign(sweep_data.groups, self.sweep.folds)
        started = time.perf_counter()
        rows, trials = self._rows(sweep_data, grids, fusions, bundle, out)
        seconds = time.perf_counter() - started
        table, held_out = evaluated(rows, self.sweep, rate, fold, labelled=sweep_data.labelled)
        facts = {
            "configurations": len(rows),
            "frames": sweep_data.frames,
            "sequences": len(sweep_data.rows),
            "groups": len(np.unique(sweep_data.groups)),
            "labelled": sweep_data.labelled,
            "held_out": None if held_out is None else asdict(held_out),
            "frame_rate": rate,
            "process_variance": likeliest.tolist(),
            "seconds": seconds,
            "configuration_frames_per_second": len(rows) * sweep_data.frames / seconds,
            **trials,
        }
        return table, facts

    def _rows(
        self, sweep_data: SweepData, grids: list[Grid], fusions: list[FusionConfig], bundle: np.ndarray, out: str
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows of the surface, and what they took."""

        def task(grid: Grid, some: list[FusionConfig]) -> Callable[[SweepData], list[dict[str, Any]]]:
            return partial(surface_of, fusions=some, grid=grid, base=self.base, step=self.sweep.step, bundle=bundle)

        if self.local:
            started = time.process_time()
            rows = [row for grid in grids for row in task(grid, fusions)(sweep_data)]
            cpu_seconds = time.process_time() - started
            return rows, {"trials": len(grids), "cpu_seconds": cpu_seconds, "peak_memory_mb": peak_memory()}
        plain = task(grids[0], fusions)(sweep_data)
        with ray_cluster(self.address) as resources:
            work = sum(map(len, grids)) * len(fusions) * sweep_data.frames
            trials = max(1, min(int(resources.get("CPU", 1)), work // MIN_WORK))
            tasks = [task(*part) for part in divided(grids[1:], fusions, trials)]
            parts, took = run_tasks(tasks, sweep_data, out)
        return plain + [row for part in parts for row in part], {"trials": len(tasks), **took}


def divided(grids: list[Grid], fusions: list[FusionConfig], trials: int) -> list[tuple[Grid, list[FusionConfig]]]:
    """The sweep in about so many tasks of similar size, each of one filter; at least one for each filter."""
    share = max(1.0, sum(map(len, grids)) * len(fusions) / trials)
    tasks = []
    for grid in grids:
        size = max(1, round(share / len(grid)))
        tasks += [(grid, fusions[start : start + size]) for start in range(0, len(fusions), size)]
    return tasks


def chosen_options(
    row: dict[str, Any], base: StabilizerConfig, fusion: FusionConfig, errors: Autocorrelation | None = None
) -> tuple[StabilizerConfig, FusionConfig]:
    """The options of a row of the surface.

    Args:
        row: of the surface.
        base: options that are not swept.
        fusion: the fusion, with any gates.
        errors: how lasting the errors are that the filter smooths, where that is known.
    """
    found = _as_options(errors) if errors and row["filter"] != "none" else {}
    return replace(base, **_filter_options(row) | found), replace(fusion, **{name: row[name] for name in GATES})


def _as_options(errors: Autocorrelation) -> dict[str, tuple[float, ...]]:
    """By their options' names, with as many digits as an option needs."""
    parts = {"autocorrelation": errors.per_second, "autocorrelated_share": errors.share}
    parts |= {"level_variance": errors.level_variance} if errors.level_variance is not None else {}
    return {name: tuple(float(f"{value:.4g}") for value in np.asarray(pair)) for name, pair in parts.items()}


def _filter_options(row: dict[str, Any]) -> dict[str, Any]:
    """A row's filter and the parameters that it has, by their options' names; a pair where the axes differ."""
    options = {name: row[name] for name in ("filter", "alpha", "min_cutoff", "beta") if row[name] is not None}
    for pair in PAIRS:
        if row[pair] is not None:
            first, second = row[pair], row[f"{pair}_arousal"]
            options[pair] = first if first == second else (first, second)
    return options


def _likeliest(sweep_data: SweepData, mean: np.ndarray, variance: np.ndarray, timing: Timing) -> np.ndarray:
    alone = np.zeros(len(sweep_data.rows), dtype=np.int64)
    packs = pack(mean, variance, sweep_data.truth, sweep_data.timestamp, sweep_data.rows, timing, alone)
    return fit_process_variance([each.sequences for each in packs], timing)


def _source(address: str) -> tuple[str, Run | None]:
    """Where the fused table lies, and the run it belongs to."""
    run = Run(address)
    if storage.exists(run.fused):
        return run.fused, run
    parent = Run(storage.parent(address))
    return address, parent if parent.load() else None


def _as_fused(origin: Run | None) -> tuple[Calibration | None, FusionConfig]:
    """The calibration and the fusion behind a fused table, by its run's record."""
    evaluate = (origin.load() if origin else {}).get("config", {}).get("evaluate", {})
    path, file = evaluate.get("calibration"), evaluate.get("stabilizer", {}).get("file")
    calibration = Calibration.load(path) if path else None
    fusion = chosen_fusion(FusionConfig(**evaluate.get("fusion", {})), calibration.fusion if calibration else None)
    return calibration, replace(fusion, **TunedStabilizer.load(file).gates) if file else fusion


def _check_fusion(sweep_data: SweepData, used: pa.Table, fusion: FusionConfig) -> None:
    made, there = sweep_data.fused(fusion)[0], both(used, "fused")
    other = ~np.isclose(made, there, atol=SAME, equal_nan=True).all(axis=1)
    if other.any():
        raise DataError(
            f"fusing the table's experts again gives other numbers in {other.sum()} of {len(other)} rows, as in "
            f"{texts(used, 'sample_id')[other][0]!r}: name the run directory it lies in, whose run.json tells how it "
            "was fused, or evaluate its predictions again"
        )


def _write(run: Run, surface: pa.Table, record: dict[str, Any], tuned: TunedStabilizer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        tuned.save(path)
        storage.write_bytes(storage.join(run.address, FILE), path.read_bytes())
    storage.write_table(storage.join(run.address, "surface.parquet"), surface)
    storage.write_table(storage.join(run.address, "pareto.parquet"), surface.filter(surface.column("pareto")))
    run.save(record)
    build_report(run.address)
    run.commit()
