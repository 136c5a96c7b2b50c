"""`emofuse calibrate`: a calibration is swept, chosen and fitted on valid, and evaluated on test once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from emofuse.cli import refuse
from emofuse.config import (
    CalibrationConfig,
    CalibrationSweepConfig,
    EvaluationConfig,
    FusionConfig,
    MediaConfig,
    Split,
    StabilizerConfig,
    StatisticsConfig,
)

DESCRIPTION = """How must the experts' means and variances be corrected on this data, and how are they best joined?
Reads stored predictions, tries on Ray Tune, in grouped cross-validation inside the valid split, mean calibrations
and variance recalibrations of each expert and axis, then fusion rules and gates behind them, takes the simplest
within one standard error of the best, fits it on valid, and evaluates it on test once. Writes calibration.json, for
`emofuse evaluate --calibration`, beside layers.parquet, surface.parquet, metrics, comparisons and report.html, and
ends by saying whether the calibration has helped."""


@dataclass(frozen=True)
class Options:
    """Options of `emofuse calibrate`."""

    predictions: str
    """A predictions table: a file, the predictions folder of a run, or the run's directory."""
    out: str
    """The run directory of the calibration, local or any fsspec address."""
    split: Split = "valid"
    """Where it is fitted; anything but valid is refused."""
    tune: bool = True
    """Sweep and choose on valid; without, --calibrator and --fusion are fitted as they are."""
    local: bool = False
    """Sweep in this process, without Ray: the same numbers."""
    address: str | None = None
    """Ray cluster to join; by default RAY_ADDRESS, else a cluster on this machine for this run."""
    seed: int = 0
    """Fixes how groups are assigned to folds."""
    sweep: CalibrationSweepConfig = field(default_factory=CalibrationSweepConfig)
    calibrator: CalibrationConfig = field(default_factory=CalibrationConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    stabilizer: StabilizerConfig = field(default_factory=StabilizerConfig)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    media: MediaConfig = field(default_factory=MediaConfig)


def main(options: Options) -> None:
    """Fit, evaluate, and tell where the calibration is."""
    if options.tune:
        refuse(options, "calibrator", "fusion", why="the sweep chooses them; with --no-tune they are fitted as given")
    else:
        swept = [f"sweep.{f.name}" for f in fields(options.sweep) if f.name != "folds"]
        refuse(options, *swept, "local", "address", why="nothing is swept with --no-tune")
    if options.local:
        refuse(options, "address", why="--local runs in this process, and joins no Ray cluster")
    from emofuse.tuning.calibration.run import CalibrationJob

    evaluation = EvaluationConfig(seed=options.seed, stabilizer=options.stabilizer, statistics=options.statistics)
    fitting = CalibrationJob(
        split=options.split,
        tune=options.tune,
        options=options.sweep,
        layers=options.calibrator,
        fusion=options.fusion,
        evaluation_config=evaluation,
        media=options.media,
        local=options.local,
        address=options.address,
    )
    fitting.run(options.predictions, options.out)
