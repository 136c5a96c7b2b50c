"""The words never contradict the test, the interval, or each other."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from emofuse.metrics.significance import Inference, conclude, conclude_family, holm_levels, holm_p, ratio_mean, sentence
from emofuse.metrics.significance.conclusion import BETTER, EQUIVALENT, INCONCLUSIVE, NOT_WORSE, VERDICTS, WORSE


def inference(estimate, se, df=20.0):
    p = 2 * student.sf(abs(estimate) / se, df)
    half = student.ppf(0.975, df) * se
    return Inference(estimate, se, df, p, estimate - half, estimate + half, 0.95, 100, 30, 25.0)


differences = st.builds(inference, st.floats(-0.2, 0.2), st.floats(1e-5, 0.2), st.floats(1, 300, exclude_min=True))
margins = st.floats(1e-3, 0.1)
levels = st.sampled_from([0.05, 0.025, 0.1])

CASES = [
    ("clearly better", -0.05, 0.01, BETTER),
    ("clearly worse", 0.05, 0.01, WORSE),
    ("surely different, by nothing that matters", 0.0005, 0.0001, EQUIVALENT),
    ("surely better, and within the margin", -0.005, 0.001, BETTER),
    ("surely equal", 0.001, 0.003, EQUIVALENT),
    ("perhaps better, not worse", -0.01, 0.006, NOT_WORSE),
    ("anything", 0.001, 0.05, INCONCLUSIVE),
    ("perhaps worse", 0.01, 0.006, INCONCLUSIVE),
]


@pytest.mark.parametrize(("reason", "estimate", "se", "word"), CASES, ids=[case[0] for case in CASES])
def test_words(reason, estimate, se, word):
    assert conclude(inference(estimate, se), lower_is_better=True).word == word
    assert conclude(inference(-estimate, se), lower_is_better=False).word == word


@given(differences, margins, st.floats(0, 0.05), levels, st.booleans())
def test_better_is_p_below_the_level_and_an_effect(difference, margin, least, level, lower):
    assume(abs(difference.p - level) > 1e-9)
    found = conclude(difference, lower_is_better=lower, margin=margin, min_effect=least, level=level)
    claimed = found.word in (BETTER, WORSE)
    assert claimed == (difference.p < level and abs(difference.estimate) >= least)
    assert (difference.p < level) == (found.low > 0 or found.high < 0)
    if claimed:
        assert (found.word == BETTER) == ((difference.estimate < 0) == lower)


@given(differences, margins, levels, st.booleans())
def test_equivalent_is_two_one_sided_tests(difference, margin, level, lower):
    d, se, df = difference.estimate, difference.se, difference.df
    gain = -d if lower else d
    not_worse, not_better = student.sf((gain + margin) / se, df), student.cdf((gain - margin) / se, df)
    assume(abs(not_worse - level) > 1e-9 and abs(not_better - level) > 1e-9)
    found = conclude(difference, lower_is_better=lower, margin=margin, min_effect=0.001, level=level)
    if found.word not in (BETTER, WORSE):
        expected = INCONCLUSIVE if not_worse > level else NOT_WORSE if not_better > level else EQUIVALENT
        assert found.word == expected
    elif found.word == BETTER:
        assert not_worse < level


@given(differences, margins, st.booleans())
def test_told_from_the_other_side(difference, margin, lower):
    other = replace(difference, estimate=-difference.estimate, low=-difference.high, high=-difference.low)
    word = conclude(difference, lower_is_better=lower, margin=margin).word
    back = conclude(other, lower_is_better=lower, margin=margin).word
    mirrored = {BETTER: {WORSE}, WORSE: {BETTER}, EQUIVALENT: {EQUIVALENT}}
    assert back in mirrored.get(word, {NOT_WORSE, INCONCLUSIVE})
    assert word in VERDICTS


def test_without_an_interval_nothing_is_concluded():
    found = conclude(ratio_mean([0.1, 0.2], ["a", "a"]), lower_is_better=True)
    assert found.word == INCONCLUSIVE
    assert sentence(found, "fused", "scene", "MAE").startswith("Inconclusive: 2 rows in 1 groups")


@pytest.mark.slow
# statsmodels collects garbage at every call.
@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), max_size=6), levels)
def test_levels_reject_as_holm_does(p, level):
    theirs, adjusted = multipletests(p, alpha=level, method="holm")[:2] if p else (np.empty(0), np.empty(0))
    ours = holm_levels(p, level)
    np.testing.assert_allclose(holm_p(p), adjusted, atol=1e-15)
    clear = np.abs(np.array(p) - ours) > 1e-12
    np.testing.assert_array_equal((np.array(p) < ours)[clear], theirs[clear])


def test_levels_pass_over_what_is_not_a_number():
    # .010 is tried at .05/2 and rejected, .030 then at .05.
    np.testing.assert_allclose(holm_levels([0.03, np.nan, 0.01]), [0.05, 0.05, 0.025])
    np.testing.assert_allclose(holm_levels([0.03, 0.04, 0.5]), [0.05 / 3] * 3)
    np.testing.assert_allclose(holm_p([0.03, np.nan, 0.01]), [0.03, np.nan, 0.02])


def test_a_family_widens_the_intervals_of_its_words():
    alone = inference(-0.021, 0.01)
    family = conclude_family([alone, inference(0.001, 0.01)], lower_is_better=True)
    assert conclude(alone, lower_is_better=True).word == BETTER
    assert family[0].word == NOT_WORSE
    assert family[0].high > 0


SENTENCES = [
    (-0.05, 0.01, "fused is better than scene in MAE of valence: difference -.050 [-.071, -.029] at 95 %; "),
    (0.05, 0.01, "fused is worse than scene in MAE of valence: difference +.050 [+.029, +.071] at 95 %; "),
    (0.0, 0.004, "fused and scene are equivalent within ±.010 in MAE of valence: "),
    (-0.01, 0.006, "fused is not worse than scene by more than .010 in MAE of valence: "),
    (0.001, 0.05, "Inconclusive between fused and scene in MAE of valence: "),
]


@pytest.mark.parametrize(("estimate", "se", "begin"), SENTENCES)
def test_sentences(estimate, se, begin):
    said = sentence(conclude(inference(estimate, se), lower_is_better=True), "fused", "scene", "MAE of valence")
    assert said.startswith(begin)
    # (t.975 + t.8) of 20 degrees of freedom: 2.0860 + .8600 (tables of Student's t).
    assert "100 rows in 30 groups, effectively 25, 20.0 degrees of freedom" in said
    assert said.endswith(
        f"with these 25 effective groups a difference of {2.946 * se:.3f} would have been seen 8 times of 10.".replace(
            " 0.", " .", 1
        )
    )


def test_refuses():
    for change in ({"margin": 0}, {"min_effect": -1}, {"level": 0.5}):
        with pytest.raises(ValueError, match="margin above 0"):
            conclude(inference(0, 1), lower_is_better=True, **change)
    with pytest.raises(ValueError, match="level within"):
        holm_levels([0.1], 1)
