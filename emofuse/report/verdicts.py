"""What may be concluded, in words.

Only a declared comparison has a verdict; its sentence always says on which images, in how many groups, and which
difference these would have shown. "Inconclusive" is not "equal": equality is claimed only as "equivalent".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.report.run_folder import headline_split
from emofuse.report.tables import Row, decimal, interval, metric_name, system_name, systems
from emofuse.tables.columns import column

SCENE_ONLY_BELOW = 0.05
"""Mean weight of the face below which a result is called scene only."""
NO_LABELS = (
    "No image of this split has both a label and an estimate, so nothing may be concluded about accuracy; "
    "what needs no labels is shown below."
)
IN_SAMPLE_ONLY = (
    "Nothing may be concluded: an expert or the calibration was fitted on every labelled image of this split, "
    "so there is no score on images that are new to it."
)
FAMILIES = {
    "primary": "Does the face help? Fusion against the scene alone, where a face was used",
    "baseline": "Is the fusion of use? Against the constant that is harder to beat",
    "calibration": "Does the calibration help? In the metric it was fitted for",
}
"""The questions that were declared before the data were seen, in the order of their weight."""
EXPLORATORY = "exploratory"
CLAIMS = {
    "primary": {
        "better": "where a face was used, fusion is better than the scene alone",
        "worse": "where a face was used, fusion is worse than the scene alone",
        "equivalent": "where a face was used, fusion and the scene alone are equivalent within ±{margin}",
        "not_worse": "where a face was used, fusion is not worse than the scene alone by more than {margin}, "
        "and not shown to be better",
        "inconclusive": "whether fusion is better or worse than the scene alone is inconclusive",
    },
    "baseline": {
        "better": "it beats a constant",
        "worse": "it is worse than a constant",
        "equivalent": "it is equivalent to a constant within ±{margin}",
        "not_worse": "it is not worse than a constant by more than {margin}, and not shown to beat it",
        "inconclusive": "whether it beats a constant is inconclusive",
    },
    "calibration": {
        "better": "the calibration helps",
        "worse": "the calibration harms",
        "equivalent": "the calibration changes no more than ±{margin}",
        "not_worse": "the calibration does not harm by more than {margin}, and is not shown to help",
        "inconclusive": "whether the calibration helps is inconclusive",
    },
}
WORDS = {"not_worse": "not worse"}


@dataclass(frozen=True)
class Compared:
    """One row of the comparisons table, told of `a`; numbers that are not there are NaN.

    Attributes:
        verdict: "better", "worse", "equivalent", "not_worse" or "inconclusive"; empty where exploratory.
        Others as in `schema.COMPARISONS`.
    """

    family: str
    a: str
    b: str
    subset: str
    axis: str
    metric: str
    difference: float
    ci_low: float
    ci_high: float
    confidence: float
    p: float
    p_holm: float
    df: float
    n: int
    n_groups: int
    n_effective_groups: float
    mde: float
    margin: float
    verdict: str

    @property
    def word(self) -> str:
        """The verdict as it is written."""
        return WORDS.get(self.verdict, self.verdict)


_TEXTS = ("family", "a", "b", "subset", "axis", "metric", "verdict")


def compared(comparisons: pa.Table, *, split: str | None = None, in_sample: bool = False) -> list[Compared]:
    """The comparisons of a split, in the order of the table."""
    split = headline_split(comparisons) if split is None else split
    rows = [r for r in comparisons.to_pylist() if (r["split"], r["in_sample"]) == (split, in_sample)]
    missing: dict[str, Any] = {f.name: "" if f.name in _TEXTS else math.nan for f in fields(Compared)}
    return [Compared(**{name: missing[name] if row[name] is None else row[name] for name in missing}) for row in rows]


def declared(found: list[Compared]) -> list[Compared]:
    """Those that have a verdict, question by question."""
    return [c for family in FAMILIES for c in found if c.family == family]


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
        evidence: what stands behind it, a text for each declared comparison and one for the face's weight.
    """

    axis: str
    claim: str
    evidence: tuple[str, ...] = ()


def conclusions(
    metrics: pa.Table,
    comparisons: pa.Table,
    *,
    face_weight: dict[str, float] | None = None,
    split: str | None = None,
) -> list[Conclusion]:
    """What may be concluded, one entry for each axis; a single one where nothing can be said.

    Args:
        metrics: a table of `schema.METRICS`.
        comparisons: a table of `schema.COMPARISONS`.
        face_weight: mean weight of the face per axis (`face_weights`); left out of the words where None.
        split: the split spoken of; by default the one of the headline.
    """
    split = headline_split(metrics) if split is None else split
    found = declared(compared(comparisons, split=split))
    said = []
    for axis in AXES:
        scored = {subset: _fused(metrics, axis, subset, split) for subset in ("all", "face")}
        if scored["all"] is not None:
            weight = None if face_weight is None else face_weight.get(axis, math.nan)
            said.append(_conclude([c for c in found if c.axis == axis], axis, scored, weight))
    if said:
        return said
    if any(metrics.column("in_sample").to_pylist()):
        return [Conclusion("", IN_SAMPLE_ONLY)]
    return [Conclusion("", NO_LABELS)]


def summary_sentences(
    metrics: pa.Table,
    comparisons: pa.Table,
    *,
    face_weight: dict[str, float] | None = None,
    split: str | None = None,
) -> list[str]:
    """The claims and evidence of `conclusions` as plain text, one entry for each axis."""
    said = conclusions(metrics, comparisons, face_weight=face_weight, split=split)
    return [" ".join((one.claim, *one.evidence)) for one in said]


def _fused(metrics: pa.Table, axis: str, subset: str, split: str) -> Row | None:
    rows = systems(metrics, axis, subset=subset, split=split, wanted=("mae",)).rows
    return next((row for row in rows if row.system == "fused"), None)


def _conclude(found: list[Compared], axis: str, scored: dict[str, Row | None], weight: float | None) -> Conclusion:
    claims = [CLAIMS[c.family][c.verdict].format(margin=decimal(c.margin, 2)) for c in found]
    if weight is not None and weight < SCENE_ONLY_BELOW:
        claims.insert(0, "this is scene only, not fusion")
    evidence = [sentence(c, scored) for c in found]
    evidence += [] if weight is None else [weight_sentence(weight)]
    said = "; ".join(claims) or "fusion was compared with nothing"
    return Conclusion(axis, f"{axis.capitalize()}: {said}.", tuple(evidence))


def sentence(c: Compared, scored: dict[str, Row | None]) -> str:
    """A declared comparison in full: where, by how much, how sure, and what the data would have shown.

    Args:
        c: the comparison.
        scored: the fusion's row of the metrics of "all" images and of those where a "face" was used.
    """
    effect = f"difference {decimal(c.difference, sign=True)}"
    if not math.isfinite(c.ci_low):
        return (
            f"{_pair(c)} {_where(c, scored)}: {_values(c, scored)}{effect}; from {_groups(c)} there is no "
            "interval, so that nothing can be said of other images."
        )
    sure = (
        f"{100 * c.confidence:.3g} % interval {interval(c.ci_low, c.ci_high, sign=True)}, Holm’s p {p_text(c.p_holm)}"
    )
    data = f"{_groups(c)}, {decimal(c.df, 1)} degrees of freedom"
    return (
        f"{_pair(c)} {_where(c, scored)}: {_values(c, scored)}{effect}, {sure}. {data}; a difference of "
        f"{decimal(c.mde)} would have been seen 8 times of 10."
    )


def _pair(c: Compared) -> str:
    return f"{system_name(c.a)} against {called(c.b)},"


def _where(c: Compared, scored: dict[str, Row | None]) -> str:
    rated = scored["all"]
    if c.subset != "face" or rated is None:
        return f"{c.n:,} images"
    return f"{c.n:,} of {rated.n:,} images ({decimal(100 * c.n / rated.n, 0)} %) where a face was used"


def _values(c: Compared, scored: dict[str, Row | None]) -> str:
    """Both systems' mean absolute errors, where the fusion's own is over the very images compared."""
    row = scored.get(c.subset)
    if c.metric != "mae" or row is None or row.cells[0] is None or row.n != c.n:
        return f"{metric_name(c.metric)} " if c.metric != "mae" else "mean absolute error, "
    ours = row.cells[0].value
    return f"mean absolute error {decimal(ours)} against {decimal(ours - c.difference)}, "


def _groups(c: Compared) -> str:
    groups = f"{c.n_groups:,} group{'s' if c.n_groups != 1 else ''}"
    if not math.isfinite(c.n_effective_groups) or round(c.n_effective_groups) == c.n_groups:
        return groups
    return f"{groups}, which say as much as {decimal(c.n_effective_groups, 0)} of equal size"


def weight_sentence(weight: float) -> str:
    """What the mean weight of the face makes of the result."""
    if not math.isfinite(weight):
        return "No image has a fused estimate."
    if weight < SCENE_ONLY_BELOW:
        return f"The face’s mean weight is {decimal(weight)}: this is scene only, not fusion."
    return f"The face’s mean weight is {decimal(weight, 2)}."


def p_value(p: float) -> str:
    """A p value as one writes it in a table."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_text(p: float) -> str:
    """A p value after the letter, in a sentence."""
    value = p_value(p)
    return value if value.startswith("<") else f"= {value}"


def called(system: str) -> str:
    """A system's name inside a sentence."""
    names = {"constant_mean": "the constant mean", "constant_median": "the constant median"}
    return names.get(system, f"the {system_name(system).lower()}")
