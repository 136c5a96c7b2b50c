"""Every metric of the tables has an inference, and the same value as the metric itself."""

import numpy as np
import pytest

from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.significance.systems import accuracy, certainty, difference
from emofuse.metrics.uncertainty import uncertainty_metrics

GROUP = np.repeat(np.arange(20), 4)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    y = rng.normal(0, 0.4, 80)
    a, b = (y + rng.normal(0, 0.3, 80) for _ in "ab")
    a[3], b[7], y[11] = np.nan, np.nan, np.nan
    return y, a, b, rng.uniform(0.05, 0.2, 80)


def test_accuracy(rows):
    y, a, _, _ = rows
    found = accuracy(y, a, GROUP)
    assert list(found) == list(METRICS)
    for name, each in found.items():
        assert each.estimate == pytest.approx(METRICS[name](y, a), abs=1e-12)
        assert each.low < each.estimate < each.high
        assert each.n == 78


def test_certainty(rows):
    y, a, _, v = rows
    v[5] = 0
    found, values = certainty(y, a, v, GROUP), uncertainty_metrics(y, a, v)
    assert set(found) == set(values)
    for name, each in found.items():
        assert each.estimate == pytest.approx(values[name], abs=1e-12)
        assert each.n == 77
        if name == "ence_expected":
            assert np.isnan([each.low, each.high]).all()
        else:
            assert each.low < each.estimate <= each.high
    assert certainty(y, a, np.zeros(80), GROUP) == {}


def test_difference(rows):
    y, a, b, _ = rows
    known = np.isfinite(y + a + b)
    for name, each in difference(y, a, b, GROUP).items():
        expected = METRICS[name](y[known], a[known]) - METRICS[name](y[known], b[known])
        assert each.estimate == pytest.approx(expected, abs=1e-12)
        assert each.n == 77
        assert each.p < 1
    assert list(difference(y, a, b, GROUP, metrics=["mae"])) == ["mae"]
    with pytest.raises(ValueError, match="unknown spearman"):
        difference(y, a, b, GROUP, metrics=["spearman"])
    with pytest.raises(ValueError, match="one axis"):
        difference(*[np.ones((3, 2))] * 3)
