"""ENCE and miscalibration area: influences against weighing rows anew, and how often the intervals hold."""

import numpy as np
import pytest
from scipy.stats import binom

from emofuse.metrics.reliability import ence, miscalibration_area
from emofuse.metrics.significance.calibration_errors import _of_area, _of_ence, calibration_errors

METRICS = {"ence": ence, "miscalibration_area": miscalibration_area}


def made_up(rng, groups, factor, *, icc=0.4, sigmas=None):
    """Errors `factor` times as large as claimed, alike within a group by `icc`."""
    group = np.repeat(np.arange(groups), rng.geometric(1 / 3.4, groups))
    n = len(group)
    variance = 0.04 * np.exp(rng.normal(0, 0.5, n)) if sigmas is None else np.square(rng.choice(sigmas, n))
    z = np.sqrt(icc) * rng.normal(size=groups)[group] + np.sqrt(1 - icc) * rng.normal(size=n)
    return factor * z * np.sqrt(variance), np.zeros(n), variance, group


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_influence_is_what_one_more_copy_of_a_row_adds(factor):
    # With fewer sigmas than bins a copy moves no bin.
    y, m, v, _ = made_up(np.random.default_rng(0), 800, factor, sigmas=[0.1, 0.2, 0.3, 0.5])
    pulls = {"ence": _of_ence(np.square(y - m), v, 10), "miscalibration_area": _of_area(y, m, v)}
    for name, metric in METRICS.items():
        before = metric(y, m, v)
        assert pulls[name].mean() == pytest.approx(0, abs=1e-12)
        for i in range(0, len(y), 97):
            again = np.append(np.arange(len(y)), i)
            added = (metric(y[again], m[again], v[again]) - before) * (len(y) + 1)
            # Of the area the curve is read at 100 levels, so a row is known to 1/99; else what is left is of order 1/N.
            assert pulls[name][i] == pytest.approx(added, abs=0.011 if name != "ence" else 0.02 * np.ptp(pulls[name]))


@pytest.mark.parametrize("groups", [25, 70])
@pytest.mark.parametrize("factor", [1.0, 1.4])
def test_intervals_hold_the_average_value_as_often_as_claimed(groups, factor):
    # As `tests/metrics/significance/test_simulation.py`: bounds of a binomial share at a chance of 1 in 1000. Under
    # perfect calibration the intervals are known to be too wide, so only too few is an error there.
    repeats = 200
    draws = [made_up(np.random.default_rng([1, groups, r]), groups, factor)[:3] for r in range(1000)]
    found = [
        calibration_errors(*made_up(np.random.default_rng([2, groups, r]), groups, factor)) for r in range(repeats)
    ]
    low, high = binom.interval(1 - 1e-3, repeats, 0.95)
    for name, metric in METRICS.items():
        truth = np.mean([metric(*draw) for draw in draws])
        hits = sum(each[name].low <= truth <= each[name].high for each in found)
        assert low <= hits
        assert factor == 1 or hits <= high


def test_little_to_say():
    y, m, v, _ = made_up(np.random.default_rng(3), 10, 1.2)
    for name, each in calibration_errors(y, m, v, np.zeros(len(y))).items():
        assert each.estimate == METRICS[name](y, m, v)
        assert np.isnan([each.low, each.high, each.se, each.p]).all()
