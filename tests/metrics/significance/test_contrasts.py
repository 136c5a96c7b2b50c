"""Contrasts of subgroups' means: against Welch's and the paired t test of scipy, and the gap over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emofuse.metrics.significance import ratio_mean
from emofuse.metrics.significance.contrasts import contrast, largest_gap, macro_mean

RNG = np.random.default_rng(0)
ONE, OTHER = RNG.normal(0.3, 0.1, 9), RNG.normal(0.2, 0.3, 14)
BOTH, SIDE = np.r_[ONE, OTHER], np.repeat([0, 1], [9, 14])


def test_rows_by_themselves_give_the_test_of_welch() -> None:
    expected = stats.ttest_ind(ONE, OTHER, equal_var=False)
    found = contrast(BOTH, SIDE, [1, -1])
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), pytest.approx(expected.df))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found.n, found.n_groups) == (23, 23)


def test_a_row_of_each_group_in_both_subgroups_gives_the_paired_test() -> None:
    one, other = ONE, OTHER[:9] + ONE
    expected = stats.ttest_rel(one, other)
    found = contrast(np.r_[one, other], np.repeat([0, 1], 9), [1, -1], np.tile(np.arange(9), 2))
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), pytest.approx(8))
    assert found.n_groups == 9


def test_subgroups_without_a_common_group_add_the_errors_of_their_means() -> None:
    groups = np.r_[np.arange(9) // 3, 10 + np.arange(14) // 2]
    one, other = ratio_mean(ONE, groups[:9]), ratio_mean(OTHER, groups[9:])
    assert contrast(BOTH, SIDE, [1, -1], groups).se == pytest.approx(np.hypot(one.se, other.se))
    mean = macro_mean(BOTH, SIDE, 2, groups)
    assert mean.estimate == pytest.approx((ONE.mean() + OTHER.mean()) / 2)
    assert mean.se == pytest.approx(np.hypot(one.se, other.se) / 2)


def test_the_largest_gap_has_the_interval_of_all_pairs() -> None:
    values, side = np.r_[BOTH, ONE + 1, [9.0, 9.0]], np.r_[SIDE, np.full(9, 2), [3, 3]]
    groups = np.r_[np.arange(32), [40, 40]]  # the fourth subgroup is one group: it says nothing of its spread
    found = largest_gap(values, side, 4, groups, families=2)
    assert found is not None
    low = min((0, 1), key=lambda k: values[side == k].mean())
    assert (found.high, found.low, found.pairs) == (2, low, 6)
    expected = contrast(values, side, np.where(np.arange(4) == 2, 1, np.where(np.arange(4) == low, -1, 0)), groups)
    half = stats.t.ppf(1 - 0.025 / 6, expected.df) * expected.se
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (expected.estimate - half, expected.estimate + half)
    )


def test_one_subgroup_or_groups_of_one_have_no_gap() -> None:
    assert largest_gap(ONE, np.zeros(9, int), 1) is None
    assert largest_gap(BOTH, SIDE, 2, SIDE) is None
    assert np.isnan(contrast(BOTH, SIDE, [1, -1], SIDE).se)


def test_where_no_subgroup_differs_a_gap_is_shown_at_most_as_often_as_is_said() -> None:
    rng, reps, shown = np.random.default_rng(1), 400, 0
    side, groups = np.repeat(np.arange(4), 24), np.arange(96) // 3
    for _ in range(reps):
        errors = np.abs(rng.normal(0, 0.2, 96) + np.repeat(rng.normal(0, 0.2, 32), 3))
        found = largest_gap(errors, side, 4, groups)
        assert found is not None
        shown += found.difference.low > 0
    assert shown <= stats.binom.ppf(0.999, reps, 0.05)
