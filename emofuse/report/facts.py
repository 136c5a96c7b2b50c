"""Facts of a run for the page: data set, counts of rows by status, experts, stages, versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emofuse.affect import AXES
from emofuse.report.run_folder import RunFolder
from emofuse.tables.columns import both, column, texts
from emofuse.tables.schema import read_metadata

REASONS_SHOWN = 40
MAX_LISTED = 12
_IN_SECTIONS = {"config", "dataset", "experts", "stages", "counts", "weights", "split", "rows", "chosen"}


@dataclass(frozen=True)
class Reason:
    """A kind of error: how many rows it took, and one of them."""

    kind: str
    count: int
    sample_id: str
    detail: str


@dataclass(frozen=True)
class Counts:
    """Rows in and out, and what became of them.

    `left_out` says by reason what the headline is not of; `face_detection` is whether it was enabled.
    """

    rows_in: int
    rows_out: int
    evaluated: int
    in_sample: int
    left_out: Mapping[str, int]
    face_detection: bool
    faces: int
    no_face: int
    errors: int
    rated: int
    groups: int

    @property
    def balanced(self) -> bool:
        """Whether every row that came in came out."""
        return self.rows_in == self.rows_out


def title(run: RunFolder) -> str:
    """What the page is about: the data set's title, else the size of the sweep."""
    named = run.dataset.get("title") or run.dataset.get("dataset")
    if named:
        return str(named)
    return f"Sweep of {run.surface.num_rows:,} configurations" if run.surface.num_rows else "Evaluation"


def counts(run: RunFolder) -> Counts:
    """Rows in and out of the run, by what became of them."""
    status = texts(run.fused, "status")
    rows, read, evaluated = len(status), status != "error", run.evaluated
    in_sample, found = column(run.fused, "in_sample").astype(bool), column(run.fused, "face_count")
    rated = np.isfinite(both(run.fused)).any(axis=1)
    groups = {group for group in texts(run.fused, "group")[evaluated] if group is not None}
    recorded = run.section("counts").get("in", rows)
    return Counts(
        rows_in=recorded if isinstance(recorded, int) else rows,
        rows_out=rows,
        evaluated=int(evaluated.sum()),
        in_sample=int((in_sample & read).sum()),
        left_out=run.section("rows").get("left_out", {}),
        face_detection=bool(np.isfinite(found).any()),
        faces=int((found > 0).sum()),
        no_face=int((found == 0).sum()),
        errors=int((~read).sum()),
        rated=int((evaluated & rated).sum()),
        groups=len(groups),
    )


def reasons(run: RunFolder) -> list[Reason]:
    """Every kind of error among the rows, the most frequent first."""
    found: dict[str, Reason] = {}
    table = run.fused.filter(texts(run.fused, "status") == "error").select(["sample_id", "error"])
    for row in table.to_pylist():
        kind, _, detail = (row["error"] or "no reason recorded").partition(": ")
        first = found.get(kind, Reason(kind, 0, row["sample_id"], detail))
        found[kind] = Reason(kind, first.count + 1, first.sample_id, first.detail)
    return sorted(found.values(), key=lambda reason: (-reason.count, reason.kind))


def dropped(run: RunFolder) -> dict[str, int]:
    """Rows the manifest's converter left out, by reason."""
    found = _made(run).get("dropped")
    return {str(reason): int(number) for reason, number in found.items()} if isinstance(found, Mapping) else {}


def notes(run: RunFolder) -> list[str]:
    """Notes of the manifest's converter, without that on labels, which stands at the top."""
    found = _made(run).get("notes")
    own = run.dataset.get("label_note")
    return [str(note) for note in found if note != own] if isinstance(found, list) else []


def _made(run: RunFolder) -> Mapping[str, Any]:
    found = run.dataset.get("counts")
    return found if isinstance(found, Mapping) else {}


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested record as pairs of a dotted name and a text, in order."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        few = len(value) <= MAX_LISTED and not any(isinstance(item, Mapping) for item in value)
        yield prefix, _short(", ".join(map(_text, value))) if few else f"{len(value)} entries"
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


def experts(run: RunFolder) -> list[tuple[str, str, str, str]]:
    """Each expert in four texts: its name, its network, what it was trained on, and its licence."""
    rows = []
    for name, card in run.section("experts").items():
        if not isinstance(card, Mapping):
            rows.append((str(name), "none", "–", "–"))
            continue
        backbone, head = _inner(card, "backbone").get("name"), _inner(card, "head").get("kind")
        network = card.get("network") or card.get("architecture") or f"{backbone or '?'} backbone, {head or '?'} head"
        data = _inner(card, "data")
        trained = str(data.get("title") or card.get("source") or "–")
        if isinstance(data.get("rows"), int):
            trained += f", {data['rows']:,} images"
        rows.append((str(name), str(network), trained, str(card.get("licence") or "not stated")))
    return rows


def _inner(card: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = card.get(name)
    return found if isinstance(found, Mapping) else {}


CORRELATION = {
    "calibration": "how the experts' errors go together was estimated on valid",
    "stored pair": "how these two experts' errors go together was estimated out of fold when they were trained",
    "assumed correlation": "how these experts' errors go together is not known: a correlation of one half is assumed, "
    "so the fused variance is an assumption, too",
}


def fusion(run: RunFolder) -> list[str]:
    """What the fused numbers rest on, in sentences; none where the table does not say."""
    said = _inner(read_metadata(run.fused.schema), "fusion")
    rule, source = str(said.get("rule", "")).replace("_", " "), CORRELATION.get(str(said.get("correlation")))
    lines = [f"Fused by {rule}; {source}." if source else f"Fused by {rule}."] if rule else []
    for name, axes in _inner(said, "constant_weight").items():
        if axes:
            lines.append(
                f"Constant weight: the {name} expert's variance of {' and '.join(axes)} is the same on every image."
            )
    return lines


def varying_axes(run: RunFolder) -> list[int]:
    """Axes whose predicted deviation tells images apart: not every expert's is the same on all of them."""
    constant = _inner(_inner(read_metadata(run.fused.schema), "fusion"), "constant_weight")
    same = [set(axes) for axes in constant.values()] or [set()]
    return [i for i, axis in enumerate(AXES) if axis not in set.intersection(*same)]


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
