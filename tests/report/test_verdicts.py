"""What is said in words follows from the comparisons, and never says more."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from emofuse.metrics.significance.conclusion import VERDICTS
from emofuse.metrics.significance.declared import BASELINE, CALIBRATION, EXPLORATORY, PRIMARY
from emofuse.report import verdicts
from emofuse.report.terminal import summary_sentences
from emofuse.report.verdicts import compared, declared, p_value
from emofuse.tables import schema


def metric(
    system: str, value: float, *, axis: str = "valence", in_sample: bool = False, n: int = 40, subset: str = "all"
) -> dict:
    where = {"split": "test", "in_sample": in_sample, "subset": subset, "axis": axis, "metric": "mae"}
    return {
        "system": system,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.1,
        "n": n,
        "n_groups": 20,
        **where,
    }


def comparison(b: str, verdict: str | None, difference: float = -0.05, **other: object) -> dict:
    family = {"scene": PRIMARY, "fused_raw": CALIBRATION}.get(b, BASELINE) if verdict else EXPLORATORY
    where = {"split": "test", "in_sample": False, "axis": "valence", "metric": "mae", "family": family}
    where["subset"] = "face" if family == PRIMARY else "all"
    sure = {"ci_low": difference - 0.01, "ci_high": difference + 0.01, "confidence": 0.975, "p": 0.02, "p_holm": 0.04}
    data = {"df": 17.25, "n": 40, "n_groups": 20, "n_effective_groups": 12.4, "mde": 0.021, "margin": 0.01}
    return {"a": "fused", "b": b, "difference": difference, "verdict": verdict, **sure, **data, **where, **other}


def tables(metrics: list[dict], comparisons: list[dict]) -> tuple[pa.Table, pa.Table]:
    return (
        pa.Table.from_pylist(metrics, schema=schema.METRICS),
        pa.Table.from_pylist(comparisons, schema=schema.COMPARISONS),
    )


FUSED = [metric("fused", 0.21, n=100), metric("fused", 0.20, subset="face")]


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "where a face was used, fusion is better than the scene alone"),
        ("worse", "where a face was used, fusion is worse than the scene alone"),
        ("equivalent", "fusion and the scene alone are equivalent within ±0.01"),
        ("not_worse", "not worse than the scene alone by more than 0.01, and not shown to be better"),
        ("inconclusive", "whether fusion is better or worse than the scene alone is inconclusive"),
    ],
)
def test_sentence_follows_the_verdict(verdict: str, words: str) -> None:
    (said,) = summary_sentences(*tables(FUSED, [comparison("scene", verdict)]))
    assert said.startswith("Valence: ")
    assert words in said
    assert "Fusion against the scene alone, 40 of 100 images (40 %) where a face was used: " in said
    assert "mean absolute error 0.200 against 0.250, difference −0.050" in said
    assert "97.5 % interval [−0.060, −0.040], Holm’s p = 0.040." in said
    assert "20 groups, which say as much as 12 of equal size, 17.2 degrees of freedom" in said
    assert "a difference of 0.021 would have been seen 8 times of 10" in said


def test_every_verdict_has_words_in_every_family() -> None:
    assert set(verdicts.CLAIMS) == set(verdicts.FAMILIES) == {PRIMARY, BASELINE, CALIBRATION}
    assert all(set(words) == set(VERDICTS) for words in verdicts.CLAIMS.values())


def test_questions_come_in_the_order_of_their_weight_and_exploratory_ones_are_not_said() -> None:
    rows = [comparison("equal", None), comparison("fused_raw", "better", metric="ccc")]
    rows += [comparison("constant_mean", "worse"), comparison("scene", "inconclusive")]
    (said,) = summary_sentences(*tables(FUSED, rows))
    claim = said.split(". ")[0]
    assert claim == (
        "Valence: whether fusion is better or worse than the scene alone is inconclusive; it is worse than a constant; "
        "the calibration helps"
    )
    assert "Fusion against the fusion, raw, 40 images: CCC difference −0.050" in said
    assert "qual" not in said.replace("equal size", "")


def test_errors_are_given_only_where_they_are_over_the_images_compared() -> None:
    (said,) = summary_sentences(*tables(FUSED, [comparison("constant_mean", "better")]))
    assert "Fusion against the constant mean, 40 images: mean absolute error, difference −0.050" in said
    assert "0.210" not in said


def test_one_group_says_nothing_of_other_images() -> None:
    nothing = dict.fromkeys(("ci_low", "ci_high", "p", "p_holm", "df", "mde"))
    one = comparison("scene", "inconclusive", n_groups=1, n_effective_groups=1.0, **nothing)
    (said,) = summary_sentences(*tables(FUSED, [one]))
    assert "from 1 group there is no interval" in said
    assert "nan" not in said


def test_rows_of_the_table_keep_their_numbers() -> None:
    rows = [comparison("equal", None, p_holm=None, margin=None), comparison("scene", "not_worse")]
    explored, judged = compared(tables([], rows)[1])
    assert (explored.verdict, explored.word, math.isnan(explored.p_holm)) == ("", "", True)
    assert (judged.word, judged.df, judged.n_effective_groups) == ("not worse", 17.25, 12.4)
    assert declared([explored, judged]) == [judged]
    assert compared(tables([], rows)[1], in_sample=True) == []


@pytest.mark.parametrize(
    ("weight", "scene_only"),
    [(0.0, True), (0.0499, True), (0.05, False), (0.4, False)],
    ids=["none", "below", "at", "well"],
)
def test_scene_only_below_five_per_cent(weight: float, scene_only: bool) -> None:
    (said,) = summary_sentences(*tables(FUSED, []), face_weight={"valence": weight})
    assert ("scene only, not fusion" in said) is scene_only


def test_both_axes_in_order() -> None:
    rows = [metric(system, 0.2, axis=axis) for axis in ("arousal", "valence") for system in ("fused", "scene")]
    said = summary_sentences(*tables(rows, []))
    assert said == ["Valence: fusion was compared with nothing.", "Arousal: fusion was compared with nothing."]


def test_in_sample_rows_make_no_headline() -> None:
    (said,) = summary_sentences(*tables([metric("fused", 0.01, in_sample=True)], []))
    assert "was fitted on every labelled image" in said
    assert "0.010" not in said


def test_without_labels_nothing_is_concluded() -> None:
    (said,) = summary_sentences(*tables([], []))
    assert "No image of this split has both a label and an estimate" in said


@pytest.mark.parametrize(("p", "text"), [(0.0004, "< 0.001"), (0.04, "0.040"), (math.nan, "–")])
def test_p_values(p: float, text: str) -> None:
    assert p_value(p) == text
