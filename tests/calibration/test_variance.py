"""Variance recalibration and conformal intervals: goldens, other implementations, and what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

from emofuse.calibration import (
    AffineVariance,
    ConformalIntervals,
    ConstantVariance,
    IsotonicVariance,
    ResponseVariance,
    VarianceScaling,
    pooled_variance,
)
from emofuse.calibration.variance import VARIANCE_LAYERS
from emofuse.errors import ConfigError, DataError

# Fixture F12.
M = np.array([-0.7, -0.5, -0.4, -0.2, -0.1, 0, 0.1, 0.2, 0.35, 0.5, 0.6, 0.8])
Y = np.array([-0.9, -0.35, -0.45, -0.4, 0.1, 0.05, -0.1, 0.4, 0.3, 0.2, 0.9, 0.6])
V = np.array([0.1, 0.1, 0.12, 0.12, 0.15, 0.15, 0.2, 0.2, 0.25, 0.25, 0.3, 0.3]) ** 2


def nll(y, m, v):
    return -norm.logpdf(y, m, np.sqrt(v)).mean()


def noisy(n, seed, floor=0.03):
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.01, 0.2, (n, 2))
    mean = rng.uniform(-1, 1, (n, 2))
    truth = mean + np.sqrt(3 * variance + floor) * rng.normal(size=(n, 2))
    return truth, mean, variance


def test_scaling_golden():
    layer = VarianceScaling().fit(Y, M, V)
    assert layer.scale == pytest.approx(1.1552316586664, abs=1e-12)
    assert nll(Y, M, layer.apply(V)) == pytest.approx(-0.19003952132, abs=1e-11)
    assert ((Y - M) ** 2 / layer.apply(V)).mean() == pytest.approx(1, abs=1e-12)
    # The three-row fixture of uncertainty-toolbox: s = sqrt(10), NLL 1.5716536551837 after.
    y, m, v = np.array([1.5, 3, 2]), np.array([1.0, 2, 3]), np.array([0.1, 0.5, 1]) ** 2
    three = VarianceScaling().fit(y, m, v)
    assert three.scale == pytest.approx(math.sqrt(10), abs=1e-12)
    assert nll(y, m, three(v)) == pytest.approx(1.5716536551837, abs=1e-12)


def test_scaling_agrees_with_netcal():
    from netcal import regression

    oracle = regression.VarianceScaling().fit((M, np.sqrt(V)), Y)
    expected = np.asarray(oracle.transform((M, np.sqrt(V)))).ravel()
    np.testing.assert_allclose(np.sqrt(VarianceScaling().fit(Y, M, V).apply(V)), expected, rtol=1e-4)


def test_isotonic_golden():
    layer = IsotonicVariance().fit(Y, M, V)
    sigma = np.array([0.1, 0.12, 0.15, 0.2, 0.25, 0.3])
    expected = [0.0245833333] * 3 + [0.04, 0.04625, 0.065]
    np.testing.assert_allclose(layer.apply(sigma**2), expected, atol=1e-9)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(V, (Y - M) ** 2)
    grid = np.linspace(0.001, 0.2, 50)
    np.testing.assert_allclose(layer.apply(grid), oracle.predict(grid), atol=1e-12)
    assert (np.diff(layer.apply(grid)) >= 0).all()


def test_isotonic_never_serves_no_variance_at_all():
    truth, mean = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 0.0])
    assert (IsotonicVariance().fit(truth, mean, [0.1, 0.1, 0.2, 0.2]).apply([0.1, 0.2]) > 0).all()


def test_isotonic_does_not_trust_a_lucky_row():
    # A few small errors at the small end once gave steps of almost no variance: an NLL of 1.7 instead of .8.
    rng = np.random.default_rng(8)
    variance = np.linspace(0.1, 0.2, 500)
    truth = np.sqrt(0.3) * rng.normal(size=500)
    truth[:2] = 0.001
    layer = IsotonicVariance().fit(truth, np.zeros(500), variance)
    plain = IsotonicRegression(out_of_bounds="clip").fit(variance, truth**2).predict([0.1])
    assert plain[0] < 1e-5
    assert layer.apply([0.1])[0] > 0.05


def test_affine_finds_the_factor_and_the_floor():
    layer = AffineVariance().fit(*noisy(40_000, 0))
    np.testing.assert_allclose(layer.parameters[:, 0], 3, rtol=0.05)
    np.testing.assert_allclose(layer.parameters[:, 1], 0.03, rtol=0.15)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_affine_contains_scaling_and_constant(unit):
    # 1e-6 and 1e6: what test-time views or an uncalibrated head may give; the fit must not depend on their unit.
    for seed in range(5):
        truth, mean, variance = (each[:, 0] for each in noisy(200, seed))
        variance = variance * unit
        served = [kind().fit(truth, mean, variance).apply(variance) for kind in (AffineVariance, VarianceScaling)]
        constant = ConstantVariance().fit(truth, mean, variance).apply(variance)
        assert nll(truth, mean, served[0]) <= min(nll(truth, mean, served[1]), nll(truth, mean, constant)) + 1e-6


def test_variances_that_say_nothing_become_constant():
    truth, mean, _ = noisy(5000, 1)
    useless = np.random.default_rng(2).uniform(0.001, 0.5, mean.shape)
    layer = AffineVariance().fit(truth, mean, useless)
    assert (layer.parameters[:, 0] < 0.05).all()
    np.testing.assert_allclose(layer.parameters[:, 1], pooled_variance(truth, mean), rtol=0.05)


@pytest.mark.parametrize("kind", VARIANCE_LAYERS)
def test_unknown_stays_unknown_and_survives_storage(kind):
    truth, mean, variance = noisy(300, 3)
    variance[:4, 0] = [np.nan, 0, -1, np.inf]
    layer = VARIANCE_LAYERS[kind]().fit(truth, mean, variance)
    served = layer.apply(variance)
    assert np.isnan(served[:4, 0]).all()
    assert (served[4:] > 0).all()
    again = VARIANCE_LAYERS[kind].from_dict(layer.to_dict())
    np.testing.assert_array_equal(again.apply(variance), served)
    clean = VARIANCE_LAYERS[kind]().fit(truth[4:], mean[4:], variance[4:])
    np.testing.assert_allclose(clean.apply(variance)[:, 0], served[:, 0], rtol=1e-6)


def test_axes_are_fitted_apart():
    truth, mean, variance = noisy(300, 4)
    together = VarianceScaling().fit(truth, mean, variance)
    for axis in (0, 1):
        alone = VarianceScaling().fit(truth[:, axis], mean[:, axis], variance[:, axis])
        assert together.scale[axis] == alone.scale
        np.testing.assert_array_equal(together.apply(variance)[:, axis], alone.apply(variance[:, axis]))


@pytest.mark.parametrize("kind", ["scaling", "affine", "isotonic", "constant"])
def test_coverage_on_unseen_rows(kind):
    layer = VARIANCE_LAYERS[kind]().fit(*noisy(6000, 5))
    truth, mean, variance = noisy(6000, 6)
    inside = (np.abs(truth - mean) <= norm.ppf(0.95) * np.sqrt(layer.apply(variance))).mean(axis=0)
    np.testing.assert_allclose(inside, 0.9, atol=0.02)


def test_refusals():
    with pytest.raises(ConfigError, match="not been fitted"):
        VarianceScaling().apply([0.1])
    with pytest.raises(DataError, match="two rows"):
        VarianceScaling().fit([0.1, 0.2], [0.1, 0.2], [np.nan, 0.1])
    with pytest.raises(ValueError, match="one shape"):
        AffineVariance().fit([0.1, 0.2], [0.1], [0.1, 0.1])


def test_pooled_variance_leaves_out_what_is_missing():
    truth = np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.0]])
    mean = np.array([[0.0, 0.0], [np.nan, 0.1], [0.2, np.nan]])
    np.testing.assert_allclose(pooled_variance(truth, mean), [(0.01 + 0.09) / 2, 0.04])
    assert np.isnan(pooled_variance([np.nan], [0.1]))


def test_conformal_golden():
    # crepes.ConformalRegressor on the same rows: q = 2.0 at 90 % (k = 12), 1.6666666667 at 80 %.
    intervals = ConformalIntervals.fit(Y, M, V, levels=(0.8, 0.9))
    assert intervals.quantile(0.9) == pytest.approx(2.0, abs=1e-9)
    assert intervals.quantile(0.8) == pytest.approx(1.6666666667, abs=1e-9)
    low, high = intervals.interval([0.5], [0.04], 0.9)
    np.testing.assert_allclose([low[0], high[0]], [0.1, 0.9], atol=1e-9)


def test_conformal_agrees_with_crepes():
    import crepes

    regressor = crepes.ConformalRegressor().fit(residuals=Y - M, sigmas=np.sqrt(V))
    expected = regressor.predict_int(np.zeros(1), sigmas=np.ones(1), confidence=0.8)
    assert ConformalIntervals.fit(Y, M, V, (0.8,)).quantile(0.8) == pytest.approx(expected[0, 1], abs=1e-12)


def test_conformal_without_enough_rows_promises_nothing():
    intervals = ConformalIntervals.fit(Y[:5], M[:5], V[:5])
    assert math.isinf(intervals.quantile(0.95))
    again = ConformalIntervals.from_dict(intervals.to_dict())
    np.testing.assert_array_equal(again.quantiles, intervals.quantiles)
    with pytest.raises(ConfigError, match=r"level 0\.42"):
        intervals.quantile(0.42)
    with pytest.raises(ConfigError, match="within"):
        ConformalIntervals.fit(Y, M, V, (1.0,))
    with pytest.raises(DataError, match="conformal"):
        ConformalIntervals.fit(Y, M, np.full_like(V, np.nan))


def test_conformal_covers_whatever_the_distribution():
    # 400 repeats of n = 99: mean coverage is exactly k / (n + 1) = .9, its standard error below .002.
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(400):
        errors = rng.standard_t(2, (199, 1))[:, 0]
        half = ConformalIntervals.fit(errors[:99], np.zeros(99), np.ones(99)).quantile(0.9)
        covered.append((np.abs(errors[99:]) <= half).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.008)


def test_a_variance_from_answers_finds_where_the_errors_are():
    rng = np.random.default_rng(9)
    answer = rng.uniform(-1, 1, (20_000, 2))
    true = np.exp(-3 + np.column_stack([1.2 * answer[:, 0], answer[:, 1] ** 2]))
    truth = np.clip(0.3 * np.sqrt(true) * rng.normal(size=true.shape), -1, 1)
    layer = ResponseVariance.fit(truth, np.zeros_like(truth), answer)
    np.testing.assert_allclose(np.log(layer.apply(answer)), np.log(0.09 * true), atol=0.12)
    again = ResponseVariance.from_dict(layer.to_dict())
    np.testing.assert_array_equal(again.apply(answer), layer.apply(answer))
    assert np.isnan(layer.apply([np.nan, 0.1])).all()
    np.testing.assert_array_equal(layer.apply([9.0, 9.0]), layer.apply(answer.max(axis=0)))
    with pytest.raises(DataError, match="two complete rows"):
        ResponseVariance.fit(truth[:1], truth[:1], answer[:1])
