"""Ray Tune over filters, their parameters and the fusion's gates, from a stored fused table.

A trial costs tens of milliseconds to start and a configuration microseconds, so a trial is one
filter with a block of the grid, vectorised; the whole surface comes back, not one best value.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from emofuse.calibration import Calibration
from emofuse.config import FusionConfig, StabilizerConfig, SweepConfig
from emofuse.errors import DataError, EmofuseError
from emofuse.fusion.select import chosen_fusion
from emofuse.inference.cluster import ray_cluster
from emofuse.inference.sink import table_fingerprint
from emofuse.io import storage
from emofuse.io.addresses import display_uri
from emofuse.report import build_report
from emofuse.runs import run as runs
from emofuse.runs.run import Run
from emofuse.stabilizer import Timing, fit_process_variance
from emofuse.tables.columns import both, texts
from emofuse.tables.schema import FUSED, conform, with_metadata
from emofuse.tuning.stabilizer.grid import GATES, Grid, filter_grids, fusion_grid
from emofuse.tuning.stabilizer.scoring import pack
from emofuse.tuning.stabilizer.surface import PAIRS, PARAMETERS, SweepData, evaluated, surface_of
from emofuse.tuning.stabilizer.trials import Task, peak_memory, run_trials

FEW_SEQUENCES = 5
"""Below so many sequences a sweep says that its choice is to be taken with care."""
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
        split: on which configurations are compared; None takes valid where there is one, else all.
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
        """Sweep, and write `surface.parquet`, `pareto.parquet`, `run.json` and the report.

        Args:
            fused: the fused folder of a run, or the run's directory.
            out: the run directory of this sweep.

        Raises:
            DataError: if the table holds no sequences, or was fused in a way its run does not tell.
            ConfigError: if the directory holds another run.
        """
        source, origin = _source(storage.absolute(fused))
        table = conform(storage.read_table(source), FUSED, "fused table")
        run = Run(runs.check_output(out))
        mark = runs.fingerprint(table_fingerprint(table), self.sweep, self.base, self.split)
        record = {**run.open({"tune": mark}), **runs.provenance()}
        if run.finished:
            self.console.print(
                f"{display_uri(run.address)}: finished already; nothing was done", highlight=False, soft_wrap=True
            )
            return run
        calibration, fusion = _as_fused(origin)
        split = self.split or ("valid" if "valid" in table.column("split").unique().to_pylist() else "all")
        sweep_data = SweepData.of(table, split, calibration)
        _check_fusion(sweep_data, table, split, fusion)
        surface, facts = self.surface(sweep_data, fusion, out=run.address)
        chosen = surface.slice(0, 1).to_pylist()[0]
        stabilizer, gated = chosen_options(chosen, self.base, fusion)
        record |= {"fused": source, "split": split, "sweep": facts, "config": {"tune": asdict(self.sweep)}}
        measured = {name: value for name, value in chosen.items() if value not in (None, np.inf)}
        record |= {"chosen": {"stabilizer": asdict(stabilizer), "fusion": asdict(gated), "measured": measured}}
        _write(run, surface, record)
        self._tell(run, facts, chosen)
        return run

    def surface(self, sweep_data: SweepData, fusion: FusionConfig, out: str) -> tuple[pa.Table, dict[str, Any]]:
        """Every configuration's row, the best first, and what the sweep took.

        Args:
            sweep_data: the sequences.
            fusion: their fusion; its gates are swept.
            out: where Tune keeps its own files, in `tune` below it.
        """
        base, rate = self.base, sweep_data.frame_rate(self.base.frame_rate)
        fusions = fusion_grid(self.sweep, fusion)
        mean, variance = sweep_data.fused(fusions[0])
        likeliest = _likeliest(sweep_data, mean, variance, Timing(rate, base.max_gap, base.max_hold))
        grids = filter_grids(self.sweep, variance[np.concatenate(sweep_data.rows)], likeliest)
        started = time.perf_counter()
        rows, trials = (
            self._local(sweep_data, grids, fusions) if self.local else self._tune(sweep_data, grids, fusions, out)
        )
        seconds = time.perf_counter() - started
        table = evaluated(rows, self.sweep, rate, labelled=sweep_data.labelled)
        table = with_metadata(table, objective="objective", parameters=list(PARAMETERS))
        facts = {
            "configurations": len(rows),
            "frames": sweep_data.frames,
            "sequences": len(sweep_data.rows),
            "labelled": sweep_data.labelled,
            "frame_rate": rate,
            "process_variance": likeliest.tolist(),
            "seconds": seconds,
            "configuration_frames_per_second": len(rows) * sweep_data.frames / seconds,
            **trials,
        }
        return table, facts

    def _local(
        self, sweep_data: SweepData, grids: list[Grid], fusions: list[FusionConfig]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        started = time.process_time()
        rows = [row for grid in grids for row in surface_of(sweep_data, fusions, grid, self.base, self.sweep.step)]
        cpu_seconds = time.process_time() - started
        return rows, {"trials": len(grids), "cpu_seconds": cpu_seconds, "peak_memory_mb": peak_memory()}

    def _tune(
        self, sweep_data: SweepData, grids: list[Grid], fusions: list[FusionConfig], out: str
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        plain = surface_of(sweep_data, fusions, grids[0], self.base, self.sweep.step)
        with ray_cluster(self.address) as resources:
            work = sum(map(len, grids)) * len(fusions) * sweep_data.frames
            tasks = divided(grids[1:], fusions, max(1, min(int(resources.get("CPU", 1)), work // MIN_WORK)))
            rows, took, errors = run_trials(sweep_data, tasks, self.base, self.sweep.step, out)
        if errors:
            raise EmofuseError(f"{len(errors)} of {len(tasks)} trials failed, first: {errors[0]}")
        return plain + rows, {"trials": len(tasks), **took}

    def _tell(self, run: Run, facts: dict[str, Any], chosen: dict[str, Any]) -> None:
        measured = ("mae", "ccc") if facts["labelled"] else ()
        figures = ", ".join(f"{name} {chosen[name]:.4f}" for name in ("objective", *measured, "jitter", "hold_rate"))
        lines = [
            f"{facts['configurations']:,} configurations over {facts['frames']:,} frames of {facts['sequences']:,} "
            f"sequences in {facts['seconds']:.1f} s ({facts['configuration_frames_per_second']:,.0f} configurations "
            "× frames per second)",
            f"chosen: {chosen['filter']}; {figures}, response {chosen['response_time']:.0f} frames",
            f"evaluate with: {options_of(chosen)}",
            *_cautions(facts, chosen),
            f"report: {display_uri(run.report)}",
        ]
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)


def options_of(chosen: dict[str, Any]) -> str:
    """A row of the surface as options of `emofuse evaluate`, axis by axis where the axes differ; every gate is named,
    so that none of a calibration's stays on unseen."""
    options = {f"stabilizer.{name}": value for name, value in _filter_options(chosen).items()}
    options |= {f"fusion.{name}": "none" if chosen[name] is None else chosen[name] for name in GATES}
    words = {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in options.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in words.items())


def _cautions(facts: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """What speaks against the choice."""
    longest = facts["frames"] / facts["sequences"]
    said = []
    if facts["sequences"] < FEW_SEQUENCES:
        said.append(f"only {facts['sequences']} sequence(s) to choose on: the choice may be chance")
    if chosen["response_time"] > longest:
        said.append("it does not follow a step within a sequence of mean length: an output that is nearly frozen")
    return said


def divided(grids: list[Grid], fusions: list[FusionConfig], trials: int) -> list[Task]:
    """The sweep in about so many tasks of similar size, each of one filter; at least one for each filter."""
    share = max(1.0, sum(map(len, grids)) * len(fusions) / trials)
    tasks: list[Task] = []
    for grid in grids:
        size = max(1, round(share / len(grid)))
        tasks += [(grid, fusions[start : start + size]) for start in range(0, len(fusions), size)]
    return tasks


def chosen_options(
    row: dict[str, Any], base: StabilizerConfig, fusion: FusionConfig
) -> tuple[StabilizerConfig, FusionConfig]:
    """The options of a row of the surface."""
    gates = {name: row[name] for name in GATES}
    return replace(base, **_filter_options(row)), replace(fusion, **gates)


def _filter_options(row: dict[str, Any]) -> dict[str, Any]:
    """A row's filter and the parameters that it has, by their options' names; a pair where the axes differ."""
    options = {name: row[name] for name in ("filter", "alpha", "min_cutoff", "beta") if row[name] is not None}
    for pair in PAIRS:
        if row[pair] is not None:
            first, second = row[pair], row[f"{pair}_arousal"]
            options[pair] = first if first == second else (first, second)
    return options


def _likeliest(sweep_data: SweepData, mean: np.ndarray, variance: np.ndarray, timing: Timing) -> np.ndarray:
    packs = pack(mean, variance, sweep_data.truth, sweep_data.timestamp, sweep_data.rows, timing)
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
    path = evaluate.get("calibration")
    calibration = Calibration.load(path) if path else None
    return calibration, chosen_fusion(
        FusionConfig(**evaluate.get("fusion", {})), calibration.fusion if calibration else None
    )


def _check_fusion(sweep_data: SweepData, table: pa.Table, split: str, fusion: FusionConfig) -> None:
    stored = table if split == "all" else table.filter(pa.array(texts(table, "split") == split))
    made, there = sweep_data.fused(fusion)[0], both(stored, "fused")
    if not np.allclose(made, there, atol=SAME, equal_nan=True):
        raise DataError(
            "fusing the table's experts anew does not give its fused columns: "
            "name the run directory it lies in, whose run.json tells how it was fused"
        )


def _write(run: Run, surface: pa.Table, record: dict[str, Any]) -> None:
    storage.write_table(storage.join(run.address, "surface.parquet"), surface)
    storage.write_table(storage.join(run.address, "pareto.parquet"), surface.filter(surface.column("pareto")))
    run.save(record)
    build_report(run.address)
    run.commit()
