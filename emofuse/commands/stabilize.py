"""`emofuse stabilize`: the stabilizer is swept over a stored fused table: filter, parameters, gates."""

from __future__ import annotations

from dataclasses import dataclass, field

from emofuse.cli import refuse
from emofuse.config import Split, StabilizerConfig, SweepConfig

DESCRIPTION = """Which filter, with which parameters and behind which fusion gates, smooths these sequences best?
Reads the fused table of a run and tries every combination on Ray Tune, vectorised in few trials. Where frames
are labelled the error after smoothing is minimised, elsewhere the jitter at a bounded response time; the quickest
filter within one standard error of the best is taken. Writes stabilizer.json, for `--stabilizer.file` of
`emofuse evaluate`, surface.parquet, pareto.parquet, run.json, and report.html."""

SWEPT = ("filter", "alpha", "uncertainty_threshold", "process_variance", "min_cutoff", "beta", "file")


@dataclass(frozen=True)
class Options:
    """Options of `emofuse stabilize`."""

    fused: str
    """A run directory of `emofuse evaluate`, or its fused folder."""
    out: str
    """The run directory of the sweep."""
    split: Split | None = None
    """Configurations are compared on this split; by default valid where there is one, else all but test, which is
    refused."""
    local: bool = False
    """Run in this process, without Ray: the same numbers."""
    address: str | None = None
    """Ray cluster to join; by default RAY_ADDRESS, else a cluster on this machine for this run."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    stabilizer: StabilizerConfig = field(default_factory=StabilizerConfig)
    """Options that are not swept: gaps, holds, frame rate."""


def main(options: Options) -> None:
    """Sweep and tell what was chosen."""
    refuse(options, *(f"stabilizer.{name}" for name in SWEPT), why="the sweep chooses them; see --sweep")
    if options.local:
        refuse(options, "address", why="--local runs in this process, and joins no Ray cluster")
    from emofuse.tuning.stabilizer.run import StabilizerSweep

    sweep = StabilizerSweep(
        options.sweep, options.stabilizer, options.split, local=options.local, address=options.address
    )
    sweep.run(options.fused, options.out)
