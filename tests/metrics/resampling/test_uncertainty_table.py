"""The table of uncertainty metrics against the plain functions and loops."""

import numpy as np
import pytest

from emofuse.affect import AXES
from emofuse.metrics import uncertainty as u
from emofuse.metrics.resampling.intervals import interval
from emofuse.metrics.resampling.uncertainty_table import uncertainty_table

RESAMPLED = {
    "nll": u.nll,
    "crps": u.crps,
    "zms": u.mean_squared_z,
    "sharpness": u.sharpness,
    "coverage_50": lambda *rows: u.coverage(*rows, level=0.5),
    "coverage_95": lambda *rows: u.coverage(*rows, level=0.95),
}


def _data(n=80, groups=12):
    rng = np.random.default_rng(0)
    sigma = rng.gamma(4, 0.05, (n, 2))
    y = rng.uniform(-1, 1, (n, 2))
    mean = y + rng.normal(0, 1.2 * sigma)
    sigma[:7, 1] = np.nan
    return y, mean, sigma**2, rng.integers(0, groups, n).astype(str)


def test_values_are_those_of_the_functions():
    y, mean, variance, groups = _data()
    expected = u.uncertainty_metrics(y, mean, variance, bins=5)
    rows = uncertainty_table(y, {"scene": (mean, variance)}, groups, bins=5, resamples=50)
    assert len(rows) == 2 * len(expected)
    for row in rows:
        i = AXES.index(row.axis)
        assert row.value == pytest.approx(expected[row.metric][i], abs=1e-12)
        assert (row.system, row.n, row.n_groups) == ("scene", (80, 73)[i], 12)
        with_interval = row.metric in RESAMPLED or row.metric.startswith("coverage")
        assert np.isfinite([row.ci_low, row.ci_high]).all() == with_interval


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_intervals_are_those_of_a_plain_loop(method):
    y, mean, variance, groups = _data()
    rows = uncertainty_table(y, {"scene": (mean, variance)}, groups, resamples=150, method=method, rng=3)
    seed = int(np.random.default_rng(3).integers(2**63))
    drawn = np.random.default_rng(seed).integers(0, 12, (150, 12))
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    for row in rows:
        if row.metric not in RESAMPLED:
            continue
        arrays = [x[:, AXES.index(row.axis)] for x in (y, mean, variance)]

        def metric(rows, arrays=arrays, name=row.metric):
            return RESAMPLED[name](*(x[rows] for x in arrays))

        values = np.array([metric(np.concatenate([members[g] for g in draw])) for draw in drawn])
        without = np.array([metric(np.setdiff1d(np.arange(80), member)) for member in members])
        jackknife = without[:, None] if method == "BCa" else None
        low, high = interval(np.array([row.value]), values[:, None], jackknife)
        assert (row.ci_low, row.ci_high) == pytest.approx((low[0], high[0]), abs=1e-10)


def test_little_to_say():
    y, mean, variance, _ = _data(n=4)
    nothing = np.full((4, 2), np.nan)
    rows = uncertainty_table(y, {"constant": (mean, nothing), "scene": (mean, variance)}, ["one"] * 4)
    assert {row.system for row in rows} == {"scene"}
    assert all(np.isnan(row.ci_low) for row in rows)
    with pytest.raises(ValueError, match="both axes"):
        uncertainty_table(y[:, 0], {"scene": (mean[:, 0], variance[:, 0])})
    with pytest.raises(ValueError, match="percentile"):
        uncertainty_table(y, {"scene": (mean, variance)}, method="basic")
