"""The verdict on the fusion, as the evaluation writes it: as often wrong as is allowed, and as strong as is computed.

`tests/proof/declared_comparisons.py` is the full run. Every bound is that of a binomial share of as many draws, at
a chance of 1 in 1000 to miss.
"""

import functools

import numpy as np
import pytest
from evaluation.simulation import Scenario, draw, simulate
from scipy.stats import binom, nct
from scipy.stats import t as student

pytestmark = pytest.mark.slow

REPEATS = 100
CHANCE = 1e-3
simulated = functools.cache(simulate)


def within(share, trials, expected):
    low, high = binom.interval(1 - CHANCE, trials, expected)
    return low <= share * trials <= high


@pytest.mark.parametrize("groups", [12, 25, 70])
def test_equal_systems_are_told_apart_as_rarely_as_claimed(groups):
    found = simulated(Scenario(groups), REPEATS)
    assert found.any * REPEATS <= binom.ppf(1 - CHANCE, REPEATS, 0.05)
    # Both axes are drawn independently, so there are twice as many trials.
    assert within(found.rejected, 2 * REPEATS, 0.05)


@pytest.mark.parametrize("groups", [12, 25, 70])
@pytest.mark.parametrize("interval", ["mae_coverage", "ccc_coverage", "ccc_difference_coverage"])
def test_intervals_hold_the_truth_as_often_as_claimed(groups, interval):
    found = simulated(Scenario(groups, 0.1), REPEATS)
    assert within(getattr(found, interval), 2 * REPEATS, 0.95)


@pytest.mark.parametrize("groups", [25, 70])
def test_power_is_that_of_the_noncentral_t(groups):
    scenario = Scenario(groups, 0.1)
    found = simulated(scenario, REPEATS)
    bound, shift = student.ppf(0.975, found.df), abs(scenario.mae_difference) / np.sqrt(found.square)
    assert within(found.rejected, 2 * REPEATS, nct.sf(bound, found.df, shift) + nct.cdf(-bound, found.df, shift))
    assert found.worse == 0
    # What the family claims lies between testing each axis at half the level and at all of it.
    assert found.better <= found.rejected


def test_made_up_rows_have_the_truth_they_claim():
    scenario = Scenario(20_000, 0.1)
    y, a, b, group = draw(scenario, np.random.default_rng(0))
    sizes = np.bincount(group)
    # A mean over groups of n rows alike by at most .4: its error is below sqrt((1 + .4 (n* - 1)) / N).
    error = np.sqrt((1 + 0.4 * (np.mean(sizes**2.0) / np.mean(sizes) - 1)) / len(y))
    for k in (0, 1):
        losses = np.abs(a[:, k] - y[:, k]) - np.abs(b[:, k] - y[:, k])
        assert losses.mean() == pytest.approx(scenario.mae_difference, abs=4 * losses.std() * error)
        errors = np.array([a[:, k] - y[:, k], b[:, k] - y[:, k]])
        assert np.corrcoef(errors)[0, 1] == pytest.approx(0.925, abs=4 * error)
    assert sizes.mean() == pytest.approx(3.4, abs=4 * np.std(sizes) / np.sqrt(len(sizes)))
