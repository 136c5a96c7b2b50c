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
from emofuse.report.run_folder import column_values, headline_split
from emofuse.report.tables import decimal, metric_name, system_name, systems

SCENE_ONLY_BELOW = 0.05
"""Mean weight of the face below which a result is called scene only."""
PRIMARY = "mae"
BETTER, WORSE, NOT_SHOWN = "better", "worse", "not shown"


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
        weight = 1.0 - column_values(fused, f"scene_weight_{axis}")[keep]
        weight = weight[np.isfinite(weight)]
        means[axis] = float(weight.mean()) if weight.size else math.nan
    return means


def summary_sentences(
    metrics: pa.Table,
    comparisons: pa.Table,
    *,
    face_weight: dict[str, float] | None = None,
    split: str | None = None,
    subset: str = "all",
) -> list[str]:
    """What may be concluded, one entry for each axis.

    Args:
        metrics: a table of `schema.METRICS`.
        comparisons: a table of `schema.COMPARISONS`.
        face_weight: mean weight of the face per axis (`face_weights`); left out of the words where None.
        split: the split spoken of; by default the one of the headline.
        subset: "all", "face" or "no_face".

    Returns:
        Sentences in the order valence, arousal; a single one where nothing can be said.
    """
    split = headline_split(metrics) if split is None else split
    found = verdicts(comparisons, split=split, subset=subset)
    said = [_axis_sentences(metrics, found, axis, face_weight, split, subset) for axis in AXES]
    if any(said):
        return [sentence for sentence in said if sentence]
    if any(metrics.column("in_sample").to_pylist()):
        return [
            "Nothing may be concluded: every labelled picture of this split was in an expert's training set, "
            "so there is no score on pictures that are new to it."
        ]
    return ["No labels, so nothing may be concluded about accuracy; what needs no labels is shown below."]


def _axis_sentences(
    metrics: pa.Table,
    found: list[Verdict],
    axis: str,
    face_weight: dict[str, float] | None,
    split: str,
    subset: str,
) -> str:
    table = systems(metrics, axis, subset=subset, split=split, wanted=(PRIMARY,))
    values = {row.system: row.cells[0].value for row in table.rows if row.cells[0] is not None}
    if "fused" not in values:
        return ""
    n = next(row.n for row in table.rows if row.system == "fused")
    parts = [_against(found, "scene", axis), _against_constant(found, axis)]
    text = [f"{axis.capitalize()} (n = {n}): " + "; ".join(part for part in parts if part) + "."]
    if not any(parts):
        text = [f"{axis.capitalize()} (n = {n}): fusion has MAE {decimal(values['fused'])}; nothing was compared."]
    weight = math.nan if face_weight is None else face_weight.get(axis, math.nan)
    if face_weight is not None:
        text.append(weight_sentence(weight))
    return " ".join(text)


def weight_sentence(weight: float) -> str:
    """What the mean weight of the face makes of the result."""
    if not math.isfinite(weight):
        return "No picture has a fused estimate."
    if weight < SCENE_ONLY_BELOW:
        return f"The face's mean weight is {decimal(weight)}: this is scene only, not fusion."
    return f"The face's mean weight is {decimal(weight, 2)}."


def _against(found: list[Verdict], other: str, axis: str) -> str:
    v = find(found, "fused", other, axis)
    if v is None:
        return ""
    claim = {
        BETTER: f"fusion is better than {_called(other)}",
        WORSE: f"fusion is worse than {_called(other)}",
        NOT_SHOWN: f"no difference between fusion and {_called(other)} is shown",
    }[v.word]
    return f"{claim} ({evidence(v)})"


def _against_constant(found: list[Verdict], axis: str) -> str:
    """The claim against the constant that is harder to beat: the one with the larger difference."""
    pairs = [find(found, "fused", name, axis) for name in ("constant_median", "constant_mean")]
    known = [v for v in pairs if v is not None]
    if not known:
        return ""
    hardest = max(known, key=lambda v: (v.word != BETTER, v.difference))
    claim = {
        BETTER: "it beats a constant",
        WORSE: "it is worse than a constant",
        NOT_SHOWN: "that it beats a constant is not shown",
    }[hardest.word]
    return f"{claim} ({evidence(hardest)})"


def evidence(v: Verdict) -> str:
    """The difference with its interval and p value, in brackets' words."""
    parts = [f"{metric_name(v.metric)} {decimal(v.difference, sign=True)}"]
    if math.isfinite(v.low) and math.isfinite(v.high):
        parts.append(f"interval {decimal(v.low, sign=True)} to {decimal(v.high, sign=True)}")
    if math.isfinite(v.p_holm):
        parts.append(p_value(v.p_holm))
    return ", ".join(parts)


def p_value(p: float) -> str:
    """A p value after Holm as one writes it."""
    if not math.isfinite(p):
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _called(system: str) -> str:
    return {"scene": "the scene alone", "face": "the face alone"}.get(system, system_name(system).lower())
