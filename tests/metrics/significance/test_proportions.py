"""Korn and Graubard's interval against statsmodels and a calculation by hand."""

import warnings

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from emofuse.metrics.significance import proportion


@pytest.mark.parametrize(("hits", "n"), [(0, 9), (1, 9), (37, 50), (50, 50), (400, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_independent_rows_are_clopper_and_pearson(hits, n, confidence):
    ours = proportion(np.arange(n) < hits, confidence=confidence)
    theirs = proportion_confint(hits, n, alpha=1 - confidence, method="beta")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-9)
    assert (ours.estimate, ours.n, ours.n_groups) == (hits / n, n, n)


def test_four_pairs_by_hand():
    # Means 1, 1/2, 0, 1: share 5/8, variance of it .6875/3/4 = .0572917 against 15/64/7 = .0334821 of independent
    # rows; t_7 = 2.364624 and t_3 = 3.182446 at .975, so n* = 8 * .0334821/.0572917 * (2.364624/3.182446)^2 = 2.58118.
    ours = proportion([1, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3])
    theirs = proportion_confint(2.58118 * 5 / 8, 2.58118, method="beta")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-5)
    assert ours.se == pytest.approx(np.sqrt(0.6875 / 12), rel=1e-12)


def test_groups_that_differ_less_than_chance_gain_nothing():
    ours = proportion([1, 0] * 6, np.repeat(np.arange(6), 2))
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(6, 12, method="beta"))


def test_where_all_hit_a_group_counts_as_one_row():
    ours = proportion(np.ones(12), np.repeat(np.arange(4), 3))
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(4, 4, method="beta"))
    none = proportion(np.zeros(12), np.repeat(np.arange(4), 3))
    assert (none.low, none.high) == pytest.approx(proportion_confint(0, 4, method="beta"))


def test_columns_and_missing_rows():
    hits = np.array([[1, 0], [1, 1], [0, np.nan], [1, 1], [0, np.nan]])
    together = proportion(hits, [0, 0, 1, 2, 2])
    alone = proportion([0, 1, 1], [0, 0, 2])
    assert together.at(1).low == pytest.approx(alone.low)
    assert together.at(1).n == 3
    assert np.isnan(together.p).all()


def test_too_little_to_say_is_said_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone, nothing = proportion([1, 0, 1], [0, 0, 0]), proportion([np.nan])
    assert alone.estimate == pytest.approx(2 / 3)
    assert np.isnan([alone.low, alone.high, nothing.estimate, nothing.low]).all()


def test_refuses_what_is_no_hit():
    with pytest.raises(ValueError, match="0 or 1"):
        proportion([0.5, 1])
