"""What may be concluded, in words.

A sentence claims a difference only where the comparison named a better system; everything
else is "not shown", which is not the same as "equal".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.report.run_folder import headline_split
from emofuse.report.tables import Row, decimal, system_name, systems
from emofuse.tables.columns import column

SCENE_ONLY_BELOW = 0.05
"""Mean weight of the face below which a result is called scene only."""
PRIMARY = "mae"
NO_LABELS = (
    "No image of this split has both a label and an estimate, so nothing may be concluded about accuracy; "
    "what needs no labels is shown below."
)
IN_SAMPLE_ONLY = (
    "Nothing may be concluded: an expert or the calibration was fitted on every labelled image of this split, "
    "so there is no score on images that are new to it."
)
BETTER, WORSE, NOT_SHOWN = "better", "worse", "not shown"


_SCENE_WORDS = {
    BETTER: "fusion is better than the scene alone",
    WORSE: "fusion is worse than the scene alone",
    NOT_SHOWN: "it is not shown that fusion differs from the scene alone",
}
_CONSTANT_WORDS = {
    BETTER: "it beats a constant",
    WORSE: "it is worse than a constant",
    NOT_SHOWN: "it is not shown to beat a constant",
}


@dataclass(frozen=True)
class Verdict:
    """One comparison, told from the side of `a`.

    Attributes:
        difference: metric(a) - metric(b) with its interval and its p value after Holm.
        word: "better", "worse" or "not shown".
    """

    a: str
    b: str
    axis: str
    metric: str
    difference: float
    low: float
    high: float
    p_holm: float
    word: str


def verdicts(
    comparisons: pa.Table, *, split: str | None = None, subset: str = "all", in_sample: bool = False
) -> list[Verdict]:
    """The comparisons of one subset as verdicts, in the order of the table."""
    split = headline_split(comparisons) if split is None else split
    key = (split, subset, in_sample)
    rows = [r for r in comparisons.to_pylist() if (r["split"], r["subset"], r["in_sample"]) == key]
    return [_verdict(row) for row in rows]


def _verdict(row: dict[str, Any]) -> Verdict:
    difference, low, high = (_number(row[name]) for name in ("difference", "ci_low", "ci_high"))
    p = _number(row["p_holm"] if row["p_holm"] is not None else row["p"])
    word = _word(row["better"], row["a"], row["b"])
    return Verdict(row["a"], row["b"], row["axis"], row["metric"], difference, low, high, p, word)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _word(better: str | None, a: str, b: str) -> str:
    return BETTER if better == a else WORSE if better == b else NOT_SHOWN


def find(found: list[Verdict], a: str, b: str, axis: str, metric: str = PRIMARY) -> Verdict | None:
    """The comparison of `a` with `b`, turned round if the table has it as `b` with `a`; None where there is none."""
    for v in found:
        if (v.axis, v.metric) == (axis, metric) and (v.a, v.b) == (a, b):
            return v
        if (v.axis, v.metric) == (axis, metric) and (v.a, v.b) == (b, a):
            word = {BETTER: WORSE, WORSE: BETTER}.get(v.word, NOT_SHOWN)
            return Verdict(a, b, axis, metric, -v.difference, -v.high, -v.low, v.p_holm, word)
    return None


def face_weights(fused: pa.Table, mask: np.ndarray | None = None) -> dict[str, float]:
    """The mean weight of the face per axis over the rows that have a fused estimate; NaN where none has."""
    keep = np.ones(fused.num_rows, dtype=bool) if mask is None else mask
    means = {}
    for axis in AXES:
        weight = 1.0 - column(fused, f"scene_weight_{axis}")[keep]
        weight = weight[np.isfinite(weight)]
        means[axis] = float(weight.mean()) if weight.size else math.nan
    return means


@dataclass(frozen=True)
class Conclusion:
    """What may be concluded on one axis.

    Attributes:
        axis: "valence" or "arousal"; empty where nothing can be said of either.
        claim: the sentence to remember.
        evidence: the numbers behind it, as sentences; may be empty.
    """

    axis: str
    claim: str
    evidence: str


def conclusions(
    metrics: pa.Table,
    comparisons: pa.Table,
    *,
    face_weight: dict[str, float] | None = None,
    split: str | None = None,
    subset: str = "all",
) -> list[Conclusion]:
    """What may be concluded, one entry for each axis; a single one where nothing can be said.

    Args:
        metrics: a table of `schema.METRICS`.
        comparisons: a table of `schema.COMPARISONS`.
        face_weight: mean weight of the face per axis (`face_weights`); left out of the words where None.
        split: the split spoken of; by default the one of the headline.
        subset: "all", "face" or "no_face".
    """
    split = headline_split(metrics) if split is None else split
    found = verdicts(comparisons, split=split, subset=subset)
    said = []
    for axis in AXES:
        rows = systems(metrics, axis, subset=subset, split=split, wanted=(PRIMARY,)).rows
        if any(row.system == "fused" for row in rows):
            said.append(_conclude(rows, found, axis, None if face_weight is None else face_weight.get(axis, math.nan)))
    if said:
        return said
    if any(metrics.column("in_sample").to_pylist()):
        return [Conclusion("", IN_SAMPLE_ONLY, "")]
    return [Conclusion("", NO_LABELS, "")]


def summary_sentences(
    metrics: pa.Table,
    comparisons: pa.Table,
    *,
    face_weight: dict[str, float] | None = None,
    split: str | None = None,
    subset: str = "all",
) -> list[str]:
    """The claims and evidence of `conclusions` as plain text, one entry for each axis."""
    said = conclusions(metrics, comparisons, face_weight=face_weight, split=split, subset=subset)
    return [f"{one.claim} {one.evidence}".strip() for one in said]


def _conclude(rows: tuple[Row, ...], found: list[Verdict], axis: str, weight: float | None) -> Conclusion:
    fused = next(row for row in rows if row.system == "fused")
    scene = find(found, "fused", "scene", axis)
    constant = _hardest_constant(found, axis)
    claims = [_SCENE_WORDS[scene.word]] if scene else []
    claims += [_CONSTANT_WORDS[constant.word]] if constant else []
    alone = weight is not None and weight < SCENE_ONLY_BELOW
    claims = ["this is scene only, not fusion"] * alone + (claims or ["nothing was compared"])
    spoken = ("fused", "scene", constant.b if constant else "")
    values = [_spoken(row, fused, axis, found) for row in rows if row.cells[0] and row.system in spoken]
    evidence = [f"Mean absolute error over {fused.n:,} images in {fused.n_groups:,} groups: {', '.join(values)}."]
    evidence += [f"Fusion minus {_called(v.b)}: {evidence_of(v)}." for v in (scene, constant) if v is not None]
    evidence += [] if weight is None else [weight_sentence(weight)]
    return Conclusion(axis, f"{axis.capitalize()}: {'; '.join(claims)}.", " ".join(evidence))


def _spoken(row: Row, fused: Row, axis: str, found: list[Verdict]) -> str:
    """A system's mean absolute error on the images that have a fused estimate.

    Its own error is over all that it evaluated; where those are more, the paired difference gives that on the same.
    """
    own, ours, verdict = row.cells[0], fused.cells[0], find(found, "fused", row.system, axis)
    value = own.value if own else math.nan
    if row.n != fused.n and verdict is not None and ours is not None:
        value = ours.value - verdict.difference
    return f"{_called(row.system)} {decimal(value)}"


def weight_sentence(weight: float) -> str:
    """What the mean weight of the face makes of the result."""
    if not math.isfinite(weight):
        return "No image has a fused estimate."
    if weight < SCENE_ONLY_BELOW:
        return f"The face's mean weight is {decimal(weight)}: this is scene only, not fusion."
    return f"The face's mean weight is {decimal(weight, 2)}."


def _hardest_constant(found: list[Verdict], axis: str) -> Verdict | None:
    """The comparison with the constant that is harder to beat."""
    pairs = [find(found, "fused", name, axis) for name in ("constant_median", "constant_mean")]
    known = [v for v in pairs if v is not None]
    return max(known, key=lambda v: (v.word != BETTER, v.difference), default=None)


def evidence_of(v: Verdict) -> str:
    """The difference with its interval and p value, as text."""
    parts = [decimal(v.difference, sign=True)]
    if math.isfinite(v.low) and math.isfinite(v.high):
        parts.append(f"interval {decimal(v.low, sign=True)} to {decimal(v.high, sign=True)}")
    if math.isfinite(v.p_holm):
        value = p_value(v.p_holm)
        parts.append(f"Holm's p {value}" if value.startswith("<") else f"Holm's p = {value}")
    return ", ".join(parts)


def p_value(p: float) -> str:
    """A p value as one writes it in a table."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _called(system: str) -> str:
    """A system's name inside a sentence."""
    names = {"scene": "scene", "constant_mean": "constant mean", "constant_median": "constant median"}
    return names.get(system, system_name(system).lower())
