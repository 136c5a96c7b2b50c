"""Metrics of uncertainty against published numbers and independent implementations."""

import numpy as np
import pytest
import scipy.stats
import uncertainty_toolbox as uct

from emofuse.metrics import uncertainty as u

# The fixture of uncertainty_toolbox's own tests.
Y3, M3, V3 = np.array([1.5, 3, 2]), np.array([1.0, 2, 3]), np.array([0.1, 0.5, 1]) ** 2
M12 = np.array([-0.7, -0.5, -0.4, -0.2, -0.1, 0, 0.1, 0.2, 0.35, 0.5, 0.6, 0.8])
Y12 = np.array([-0.9, -0.35, -0.45, -0.4, 0.1, 0.05, -0.1, 0.4, 0.3, 0.2, 0.9, 0.6])
S12 = np.repeat([0.10, 0.12, 0.15, 0.20, 0.25, 0.30], 2)
V12 = S12**2


@pytest.mark.parametrize(
    ("metric", "three", "twelve"),
    [
        (u.nll, 4.920361108686675, -0.16706032286),  # uncertainty_toolbox 0.1.1, scipy norm.logpdf
        (u.crps, 0.5908061069360, 0.1150228183108),  # uncertainty_toolbox
        (u.miscalibration_area, 0.3771043771044, 0.1340778474),  # uncertainty_toolbox
        (u.mean_squared_z, 10, 1.3345601852),  # s = sqrt(10) by hand; numpy
        (u.sharpness, 0.648074069840786, 0.1997498436),  # uncertainty_toolbox
    ],
)
def test_published_numbers(metric, three, twelve):
    assert metric(Y3, M3, V3) == pytest.approx(three, abs=1e-12)
    assert metric(Y12, M12, V12) == pytest.approx(twelve, abs=5e-11)


def test_nll_after_scaling_and_of_the_constant():
    # Standard-deviation scaling by sqrt(ZMS) minimises the NLL in closed form (scipy.optimize agrees).
    assert u.nll(Y3, M3, 10 * V3) == pytest.approx(1.5716536551837, abs=1e-12)
    assert u.nll(Y12, M12, u.mean_squared_z(Y12, M12, V12) * V12) == pytest.approx(-0.19003952132, abs=5e-12)
    constant = u.constant_variance(Y12, M12)
    assert u.nll(Y12, M12, np.full(12, constant)) == pytest.approx(-0.2227686398, abs=5e-11)
    assert u.constant_variance_metrics(Y12, M12, constant)["nll"] == pytest.approx(-0.2227686398, abs=5e-11)


def test_intervals_of_twelve():
    # netcal's PICP and MPIW at 90 %.
    assert u.coverage(Y12, M12, V12, 0.9) == pytest.approx(10 / 12)
    assert u.interval_width(V12, 0.9) == pytest.approx(0.6140786874, abs=5e-11)


@pytest.mark.parametrize(
    ("definition", "bins", "expected"),
    [
        ("equal-width", 2, 0.1837931173),  # netcal 1.4
        ("equal-width", 3, 0.1332929917),
        ("equal-width", 4, 0.1602272248),
        ("equal-count", 2, 0.1837931173),  # Levi's definition, by hand
        ("equal-count", 3, 0.2075949072),
        ("equal-count", 4, 0.2099374494),
    ],
)
def test_ence_of_twelve(definition, bins, expected):
    assert u.ence(Y12, M12, V12, bins=bins, definition=definition) == pytest.approx(expected, abs=5e-11)


def test_ence_of_equal_width_is_that_of_netcal():
    from netcal.metrics import regression

    rng = np.random.default_rng(3)
    sigma = rng.gamma(4, 0.1, 400)
    m = rng.normal(size=400)
    y = m + rng.normal(0, 1.3 * sigma)
    expected = float(regression.ENCE(bins=10).measure((m, sigma), y))
    assert u.ence(y, m, sigma**2, 10, "equal-width") == pytest.approx(expected, abs=1e-9)


def test_ence_of_equal_count_from_its_definition():
    rng = np.random.default_rng(4)
    sigma = rng.gamma(4, 0.1, 103)
    y = rng.normal(0, sigma)
    parts = np.array_split(np.argsort(sigma), 7)
    expected = np.mean([abs((s := np.sqrt(np.mean(sigma[p] ** 2))) - np.sqrt(np.mean(y[p] ** 2))) / s for p in parts])
    assert u.ence(y, np.zeros(103), sigma**2, 7) == pytest.approx(expected, abs=1e-12)


def test_ence_of_a_constant_variance_has_one_bin():
    binned = u.variance_bins(Y12, M12, np.full(12, 0.04), bins=10)
    assert binned.count.tolist() == [12]
    rmse = np.sqrt(np.mean((Y12 - M12) ** 2))
    assert u.ence(Y12, M12, np.full(12, 0.04)) == pytest.approx(abs(0.2 - rmse) / 0.2, abs=1e-12)
    assert u.uncertainty_metrics(Y12, M12, np.full(12, 0.04))["ence_expected"] == u.expected_ence(12, 1)


@pytest.mark.parametrize(("n", "bins", "expected"), [(1000, 10, 0.0564), (1000, 20, 0.0798), (4000, 10, 0.0282)])
def test_ence_under_perfect_calibration(n, bins, expected):
    # sqrt(B / (pi N)), checked there by simulation; and here.
    assert u.expected_ence(n, bins) == pytest.approx(expected, abs=5e-5)
    rng = np.random.default_rng(bins)
    simulated = []
    for _ in range(100):
        sigma = rng.gamma(4, 0.1, n)
        simulated.append(u.ence(rng.normal(0, sigma), np.zeros(n), sigma**2, bins))
    error = np.std(simulated) / 10
    assert abs(np.mean(simulated) - expected) < 4 * error


def _sample(n=500, seed=0):
    rng = np.random.default_rng(seed)
    sigma = rng.gamma(4, 0.1, n)
    m = rng.normal(size=n)
    return m + rng.normal(0.05, 1.2 * sigma), m, sigma**2


def test_independent_implementations():
    y, m, v = _sample()
    sigma = np.sqrt(v)
    assert u.nll(y, m, v) == pytest.approx(-scipy.stats.norm.logpdf(y, m, sigma).mean(), abs=1e-12)
    assert u.nll(y, m, v) == pytest.approx(uct.nll_gaussian(m, sigma, y), abs=1e-12)
    assert u.crps(y, m, v) == pytest.approx(uct.crps_gaussian(m, sigma, y), abs=1e-12)
    assert u.sharpness(v) == pytest.approx(uct.sharpness(sigma), abs=1e-12)
    assert u.miscalibration_area(y, m, v) == pytest.approx(uct.miscalibration_area(m, sigma, y), abs=1e-12)
    assert u.sigma_error_spearman(y, m, v) == pytest.approx(scipy.stats.spearmanr(sigma, abs(y - m)).statistic)
    for level in (*u.LEVELS, 0.123):
        expected = uct.get_proportion_in_interval(m, sigma, y, level)
        assert u.coverage(y, m, v, level) == pytest.approx(expected, abs=1e-12)
    expected, observed = uct.get_proportion_lists_vectorized(m, sigma, y, prop_type="interval")
    ours = u.reliability_curve(y, m, v)
    np.testing.assert_allclose(ours[0], expected)
    np.testing.assert_allclose(ours[1], observed)


def test_crps_from_its_integral():
    y, m, sigma = 0.3, -0.2, 0.4
    x = np.linspace(-12, 12, 400_001)
    integrand = (scipy.stats.norm.cdf(x, m, sigma) - (x >= y)) ** 2
    assert u.crps([y], [m], [sigma**2]) == pytest.approx(np.trapezoid(integrand, x), abs=1e-4)


def test_crossing_reliability_curve_counts_both_sides():
    # Half the rows at z = 0, half far out: observed 1/2 at every level below 1, crossing the diagonal once.
    y, m, v = np.array([0.0, 0, 9, 9]), np.zeros(4), np.ones(4)
    assert u.miscalibration_area(y, m, v, levels=1001) == pytest.approx(0.25, abs=1e-3)


def test_two_axes_missing_rows_and_unknown_variances():
    y, m, v = (np.column_stack([x, x[::-1]]) for x in _sample(60))
    y[0, 0], m[1, 0], v[2, 0], v[3, 0], v[4, 1] = np.nan, np.nan, np.nan, 0, -1
    both = u.uncertainty_metrics(y, m, v)
    assert set(both) == {
        "nll", "crps", "zms", "ence", "ence_expected", "miscalibration_area", "sharpness", "sigma_error_spearman",
        "coverage_50", "coverage_68", "coverage_90", "coverage_95",
    }  # fmt: skip
    first = u.uncertainty_metrics(y[4:, 0], m[4:, 0], v[4:, 0])
    for name, value in both.items():
        assert value.shape == (2,)
        assert np.isfinite(value).all()
        assert value[0] == pytest.approx(first[name], abs=1e-12)


def test_nothing_known_is_not_a_number():
    values = u.uncertainty_metrics(np.zeros((3, 2)), np.zeros((3, 2)), np.full((3, 2), np.nan))
    assert all(np.isnan(value).all() for value in values.values())
    assert np.isnan(u.expected_ence(0))
    assert np.isnan(u.risk_coverage([], [], []).area)


def test_sharpness_over_all_rows_or_the_evaluated_ones():
    variance = np.array([1.0, 4, np.nan])
    assert u.sharpness(variance) == pytest.approx(np.sqrt(2.5))
    assert u.sharpness([0, np.nan, 0], [0, 0, 0], variance) == 1
    with pytest.raises(TypeError, match="variance"):
        u.sharpness(variance, variance)


def test_risk_coverage():
    y, m = np.array([0.0, 0, 0, 0]), np.array([0.1, 0.2, 0.3, 0.4])
    curve = u.risk_coverage(y, m, np.array([1.0, 2, 3, 4]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0.1, 0.15, 0.2, 0.25])
    assert curve.area == pytest.approx(curve.oracle_area)
    worst = u.risk_coverage(y, m, np.array([4.0, 3, 2, 1]))
    assert worst.area > worst.constant_area == pytest.approx(0.25)
    flat = u.risk_coverage(y, m, np.ones(4))
    np.testing.assert_allclose(flat.risk, 0.25)
    assert u.risk_coverage(y, m, np.ones(4), loss="squared").area == pytest.approx(np.mean(m**2))


def test_ties_in_variance_are_shared_in_any_order():
    y, m, v = _sample(50)
    v = np.round(v, 1) + 0.1
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_allclose(u.risk_coverage(y[order], m[order], v[order]).risk, u.risk_coverage(y, m, v).risk)


def test_half_of_a_conformal_split_is_covered_as_crepes_says():
    # An interval of half-width q sigma covers what crepes' normalised conformal regressor covers.
    import crepes

    y, m, v = _sample(400, seed=9)
    fitted = crepes.ConformalRegressor().fit(residuals=(y - m)[:200], sigmas=np.sqrt(v[:200]))
    low, high = fitted.predict_int(m[200:], sigmas=np.sqrt(v[200:]), confidence=0.8).T
    q = np.sort(np.abs(y - m)[:200] / np.sqrt(v[:200]))[int(np.ceil(201 * 0.8)) - 1]
    scaled = v[200:] * (q / scipy.stats.norm.ppf(0.9)) ** 2
    within = np.mean((low <= y[200:]) & (y[200:] <= high))
    assert u.coverage(y[200:], m[200:], scaled, 0.8) == pytest.approx(within, abs=1e-9)


@pytest.mark.parametrize("level", [0, 1, 90])
def test_levels_are_shares(level):
    with pytest.raises(ValueError, match="level"):
        u.coverage(Y3, M3, V3, level)
    with pytest.raises(ValueError, match="level"):
        u.interval_width(V3, level)


def test_bins_are_checked():
    with pytest.raises(ValueError, match="bins"):
        u.ence(Y3, M3, V3, bins=0)
    with pytest.raises(ValueError, match="equal-count"):
        u.ence(Y3, M3, V3, definition="quantile")
    with pytest.raises(ValueError, match="one axis"):
        u.reliability_curve(np.zeros((3, 2)), np.zeros((3, 2)), np.ones((3, 2)))
