"""What is said in words follows from the comparisons, and never says more."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from emofuse.report.terminal import summary_sentences
from emofuse.report.verdicts import find, p_value, verdicts
from emofuse.tables import schema


def metric(system: str, value: float, *, axis: str = "valence", in_sample: bool = False, n: int = 40) -> dict:
    where = {"split": "test", "in_sample": in_sample, "subset": "all", "axis": axis, "metric": "mae"}
    return {
        "system": system,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.1,
        "n": n,
        "n_groups": 20,
        **where,
    }


def comparison(a: str, b: str, difference: float, better: str | None, *, axis: str = "valence") -> dict:
    where = {"split": "test", "in_sample": False, "subset": "all", "axis": axis, "metric": "mae"}
    limits = {"ci_low": difference - 0.01, "ci_high": difference + 0.01, "p": 0.02, "p_holm": 0.04}
    return {"a": a, "b": b, "difference": difference, "better": better, **limits, **where}


def tables(metrics: list[dict], comparisons: list[dict]) -> tuple[pa.Table, pa.Table]:
    return (
        pa.Table.from_pylist(metrics, schema=schema.METRICS),
        pa.Table.from_pylist(comparisons, schema=schema.COMPARISONS),
    )


BOTH = [metric("fused", 0.20), metric("scene", 0.25), metric("constant_median", 0.3)]


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ("fused", "fusion is better than the scene alone"),
        ("scene", "fusion is worse than the scene alone"),
        (None, "it is not shown that fusion differs from the scene alone"),
    ],
)
def test_sentence_follows_the_verdict(better: str | None, words: str) -> None:
    (said,) = summary_sentences(*tables(BOTH, [comparison("fused", "scene", -0.05, better)]))
    assert words in said
    assert "Valence" in said
    assert "40 images in 20 groups" in said
    assert "fusion 0.200, scene 0.250" in said
    assert "−0.050, interval −0.060 to −0.040, Holm's p = 0.040" in said


def test_comparison_stored_the_other_way_round_is_turned() -> None:
    found = verdicts(tables([], [comparison("scene", "fused", 0.05, "fused")])[1])
    turned = find(found, "fused", "scene", "valence")
    assert turned is not None
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-0.05, -0.06, -0.04))
    assert turned.word == "better"


def test_constant_that_is_harder_to_beat_decides() -> None:
    rows = [*BOTH, metric("constant_mean", 0.31)]
    pairs = [comparison("fused", "constant_mean", -0.11, "fused"), comparison("fused", "constant_median", -0.02, None)]
    (said,) = summary_sentences(*tables(rows, pairs))
    assert "it is not shown to beat a constant" in said
    assert "Fusion minus constant median: −0.020" in said


def test_errors_in_a_sentence_are_over_the_images_that_it_names() -> None:
    rows = [metric("fused", 0.57, n=40), metric("constant_median", 0.50, n=100)]
    (said,) = summary_sentences(*tables(rows, [comparison("fused", "constant_median", 0.09, "constant_median")]))
    assert "over 40 images in 20 groups: fusion 0.570, constant median 0.480." in said
    assert "Fusion minus constant median: +0.090" in said


@pytest.mark.parametrize(
    ("weight", "scene_only"),
    [(0.0, True), (0.0499, True), (0.05, False), (0.4, False)],
    ids=["none", "below", "at", "well"],
)
def test_scene_only_below_five_per_cent(weight: float, scene_only: bool) -> None:
    (said,) = summary_sentences(*tables(BOTH, []), face_weight={"valence": weight})
    assert ("scene only, not fusion" in said) is scene_only


def test_both_axes_in_order() -> None:
    rows = [metric(system, 0.2, axis=axis) for axis in ("arousal", "valence") for system in ("fused", "scene")]
    said = summary_sentences(*tables(rows, []))
    assert [sentence.split(":")[0] for sentence in said] == ["Valence", "Arousal"]


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
