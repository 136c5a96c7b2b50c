"""Which comparisons are made, on which rows, and which of them have a word."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from emofuse.metrics.significance import ratio_mean
from emofuse.metrics.significance.declared import (
    BASELINE,
    CALIBRATION,
    EXPLORATORY,
    PRIMARY,
    Words,
    declared,
    exploratory,
)

N = 400
GROUPS = np.repeat(np.arange(100), 4)


@pytest.fixture
def made_up():
    """Labels, systems, and where a face was used: there the fusion has half the scene's error, elsewhere the same."""
    rng = np.random.default_rng(0)
    y = np.clip(rng.normal(0.1, 0.4, (N, 2)), -1, 1)
    scene = y + rng.normal(0, 0.3, (N, 2))
    used = rng.random(N) < 0.5
    systems = {
        "fused": np.where(used[:, None], (y + scene) / 2, scene),
        "scene": scene,
        "constant_mean": np.full((N, 2), [0.1, 0.5]),
        "constant_median": np.full((N, 2), [0.5, 0.1]),
        "fused_raw": scene,
    }
    y[:9, 1] = np.nan
    return y, systems, used


def test_three_families_of_both_axes(made_up):
    y, systems, used = made_up
    found = declared(y, systems, GROUPS, used, fitted_metric="ccc")
    assert [(row.family, row.b, row.axis, row.metric) for row in found] == [
        (PRIMARY, "scene", "valence", "mae"),
        (PRIMARY, "scene", "arousal", "mae"),
        (BASELINE, "constant_mean", "valence", "mae"),
        (BASELINE, "constant_median", "arousal", "mae"),
        (CALIBRATION, "fused_raw", "valence", "ccc"),
        (CALIBRATION, "fused_raw", "arousal", "ccc"),
    ]
    assert {row.conclusion.word for row in found} == {"better"}
    for first, second in zip(found[::2], found[1::2], strict=True):
        adjusted = multipletests([first.difference.p, second.difference.p], method="holm")[1]
        np.testing.assert_allclose([first.p_holm, second.p_holm], adjusted)


def test_primary_is_judged_where_a_face_was_used(made_up):
    y, systems, used = made_up
    for row, k in zip(declared(y, systems, GROUPS, used)[:2], (0, 1), strict=True):
        losses = np.abs(systems["fused"] - y)[used, k] - np.abs(systems["scene"] - y)[used, k]
        assert vars(row.difference) == pytest.approx(vars(ratio_mean(losses, GROUPS[used])))


def test_what_is_not_there_or_the_same_is_not_compared(made_up):
    y, systems, used = made_up
    assert declared(y, {"scene": systems["scene"]}, GROUPS, used) == []
    assert declared(y, systems | {"fused": systems["scene"]}, GROUPS, used, fitted_metric="mae")[0].family == BASELINE
    assert declared(y, {"fused": systems["fused"], "scene": systems["scene"]}, GROUPS, ~used) == []
    pairs = [("fused", "scene"), ("scene", "fused_raw")]
    assert {(row.a, row.b) for row in exploratory(y, systems, pairs, GROUPS)} == {("fused", "scene")}


def test_exploratory_comparisons_have_no_word(made_up):
    y, systems, _ = made_up
    found = exploratory(y, systems, [("fused", "scene")], GROUPS, metrics=["mae", "sagr"])
    assert [(row.axis, row.metric) for row in found] == [
        (axis, metric) for axis in ("valence", "arousal") for metric in ("mae", "sagr")
    ]
    for row in found:
        assert row.family == EXPLORATORY
        assert row.conclusion is None
        assert np.isnan(row.p_holm)
        assert row.difference.n == (N if row.axis == "valence" else N - 9)


def test_words_are_passed_on(made_up):
    y, systems, used = made_up
    found = declared(y, systems, GROUPS, used, words=Words(margin=0.2, min_effect=0.5, level=0.1))
    assert {row.conclusion.word for row in found} <= {"equivalent", "not_worse"}
    assert {row.conclusion.level for row in found} == {0.1, 0.05}
