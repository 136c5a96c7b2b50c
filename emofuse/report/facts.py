"""What was run, on what, and what became of every row: the plain facts of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emofuse.report.run_folder import RunFolder

REASONS_SHOWN = 40
_IN_SECTIONS = {"config", "dataset", "experts", "stages", "counts", "weights"}


@dataclass(frozen=True)
class Reason:
    """A kind of error: how many rows it took, and one of them."""

    kind: str
    count: int
    sample_id: str
    detail: str


@dataclass(frozen=True)
class Counts:
    """Rows in and out; `lost` is what the run's record says came in and is not in the table."""

    rows_in: int
    rows_out: int
    judged: int
    in_sample: int
    other_split: int
    faces: int
    no_face: int
    errors: int
    rated: int
    groups: int

    @property
    def balanced(self) -> bool:
        """Whether every row that came in came out."""
        return self.rows_in == self.rows_out


def counts(run: RunFolder) -> Counts:
    """Rows in and out of the run, by what became of them."""
    status = run.fused.column("status").to_pylist()
    rows = len(status)
    judged = run.judged()
    in_sample = run.fused.column("in_sample").to_numpy().astype(bool)
    read = np.array([s != "error" for s in status], dtype=bool)
    rated = np.isfinite(run.values("valence")) | np.isfinite(run.values("arousal"))
    groups = np.array([group or "" for group in run.fused.column("group").to_pylist()], dtype=object)
    recorded = run.section("counts").get("in", rows)
    return Counts(
        rows_in=recorded if isinstance(recorded, int) else rows,
        rows_out=rows,
        judged=int(judged.sum()),
        in_sample=int((in_sample & read).sum()),
        other_split=int((read & ~in_sample & ~judged).sum()),
        faces=status.count("ok"),
        no_face=status.count("no_face"),
        errors=status.count("error"),
        rated=int((judged & rated).sum()),
        groups=len(set(groups[judged]) - {""}),
    )


def reasons(run: RunFolder) -> list[Reason]:
    """Every kind of error among the rows, the most frequent first."""
    found: dict[str, Reason] = {}
    table = run.fused.select(["sample_id", "status", "error"])
    for row in table.to_pylist():
        if row["status"] != "error":
            continue
        kind, _, detail = (row["error"] or "no reason recorded").partition(": ")
        first = found.get(kind, Reason(kind, 0, row["sample_id"], detail))
        found[kind] = Reason(kind, first.count + 1, first.sample_id, first.detail)
    return sorted(found.values(), key=lambda reason: (-reason.count, reason.kind))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested record as pairs of a dotted name and a text, in order."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield prefix, _short(", ".join(map(str, value)))
    else:
        yield prefix, _short(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _short(text: str, most: int = 400) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def provenance(run: RunFolder) -> list[tuple[str, str]]:
    """Versions, fingerprints, machine and time: what run.json holds beside the sections shown by themselves."""
    return list(flat({key: value for key, value in run.facts.items() if key not in _IN_SECTIONS}))


def stages(run: RunFolder) -> list[tuple[str, str, str]]:
    """Each stage with its seconds and images per second, as text."""
    rows = []
    for name, record in run.section("stages").items():
        facts = record if isinstance(record, Mapping) else {"seconds": record}
        seconds = facts.get("seconds")
        rate = facts.get("images_per_second", facts.get("images/s"))
        rows.append((str(name).replace("_", " "), _figure(seconds, 1), _figure(rate, 1)))
    return rows


def _figure(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else "–"
