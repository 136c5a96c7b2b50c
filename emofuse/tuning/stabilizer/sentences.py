"""What a stabilizer sweep tells at its end, and what speaks against its choice."""

from __future__ import annotations

from typing import Any

from emofuse.io import storage
from emofuse.io.addresses import display_uri
from emofuse.runs.run import Run

FILE = "stabilizer.json"
"""What is chosen, with the rows it was chosen on, in the run directory."""
FEW_SEQUENCES = 5
"""Below so many sequences a sweep says that its choice is to be taken with care."""


def sentences(facts: dict[str, Any], chosen: dict[str, Any], address: str) -> list[str]:
    """What the sweep took and what was chosen.

    Args:
        facts: `sweep` of run.json.
        chosen: a row of the surface.
        address: of the run directory.
    """
    measured = ("mae", "ccc") if facts["labelled"] else ()
    metrics = ", ".join(f"{name} {chosen[name]:.4f}" for name in ("objective", *measured, "jitter", "hold_rate"))
    return [
        f"{facts['configurations']:,} configurations over {facts['frames']:,} frames of {facts['sequences']:,} "
        f"sequences in {facts['seconds']:.1f} s ({facts['configuration_frames_per_second']:,.0f} configurations "
        "× frames per second)",
        f"chosen: {chosen['filter']}; {metrics}, response {chosen['response_time']:.0f} frames",
        *_held_out(facts["held_out"]),
        *_autocorrelation(facts["autocorrelation"]),
        f"evaluate with: --stabilizer.file {display_uri(storage.join(address, FILE))}",
        *cautions(facts, chosen),
        f"report: {display_uri(Run(address).report)}",
    ]


def cautions(facts: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """What speaks against the choice."""
    longest = facts["frames"] / facts["sequences"]
    said = []
    if facts["sequences"] < FEW_SEQUENCES:
        said.append(f"only {facts['sequences']} sequence(s) to choose on: the choice may be chance")
    if facts["labels_in_sample"]:
        said.append("an expert, a calibration or an earlier sweep has seen every labelled row: jitter was minimised")
    if chosen["response_time"] > longest:
        said.append("it does not follow a step within a sequence of mean length: an output that is nearly frozen")
    return said


def _held_out(found: dict[str, float] | None) -> list[str]:
    """What choosing gives where it was not chosen: the number that may be told."""
    if found is None:
        return []
    return [
        f"on sequences kept back such a choice gives {found['chosen']:.4f}, no filter {found['plain']:.4f}: "
        f"difference {found['difference']:+.4f}, standard error {found['standard_error']:.4f}"
    ]


def _autocorrelation(found: dict[str, dict[str, Any]]) -> list[str]:
    """How lasting the errors are; nothing without labels."""
    each = [
        f"{name} {' '.join(f'{value:.3f}' for value in one['autocorrelation'])} of a share of "
        f"{' '.join(f'{value:.2f}' for value in one['autocorrelated_share'])}"
        for name, one in found.items()
    ]
    return [f"errors one second apart correlate by (valence, arousal): {'; '.join(each)}"] if each else []
