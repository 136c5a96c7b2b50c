"""What is estimated of experts together: against known truths, with bounds computed from the number of rows."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from emofuse.errors import DataError
from emofuse.fusion import inverse_variance
from emofuse.fusion.error_correlation import estimate_error_correlation
from emofuse.fusion.fused_variance import FusedScale, fused_variance_scale, is_constant
from emofuse.fusion.joint_gaussian import joint_gaussian, of_errors
from emofuse.fusion.joint_parameters import JointParameters, assumed_joint_parameters, fit_joint_parameters
from emofuse.fusion.rules import best_linear_unbiased

NAN = np.nan
KAPPA = 0.5
MU, TAU2 = 0.1, 0.12
WIDE = norm.ppf(0.95)
SIGMAS = 4.5
"""Standard errors allowed: a right answer fails once in 150,000."""


def simulated(rows, noise, seed, kappa=KAPPA):
    """Truth (N, 1), and posterior means and variances (2, N, 1) of measurements with noise variances (2, N)."""
    rng = np.random.default_rng(seed)
    y = rng.normal(MU, np.sqrt(TAU2), size=rows)
    common, own = rng.normal(size=rows), rng.normal(size=(2, rows))
    x = y + np.sqrt(noise) * (np.sqrt(kappa) * common + np.sqrt(1 - kappa) * own)
    posterior = 1 / (1 / TAU2 + 1 / noise)
    mean = MU + (1 - posterior / TAU2) * (x - MU)
    return y[:, None], mean[..., None], np.broadcast_to(posterior, mean.shape)[..., None]


def calibration_of(y, fused):
    """Coverage of 90 % intervals, mean squared z, and the absolute errors."""
    z = (y - fused.mean) / np.sqrt(fused.variance)
    return (np.abs(z) <= WIDE).mean(), (z**2).mean(), np.abs(y - fused.mean)


NOISE = np.array([[0.09], [0.15]])
N = 100_000


def test_inverse_variance_claims_too_little_and_best_linear_unbiased_does_not():
    y, mean, variance = simulated(N, NOISE, 0)
    v1, v2 = variance[:, 0, 0]
    rho = of_errors(np.array([[1, KAPPA], [KAPPA, 1]]), [v1, v2], TAU2)[0, 1]
    # True variance over claimed variance of the naive fusion: 1 + 2 rho sqrt(v1 v2) / (v1 + v2).
    ratio = 1 + 2 * rho * np.sqrt(v1 * v2) / (v1 + v2)
    covers = 2 * norm.cdf(WIDE / np.sqrt(ratio)) - 1
    coverage, square, naive = calibration_of(y, inverse_variance(mean, variance))
    assert coverage == pytest.approx(covers, abs=SIGMAS * np.sqrt(covers * (1 - covers) / N))
    assert square == pytest.approx(ratio, rel=SIGMAS * np.sqrt(2 / N))
    assert covers < 0.80
    right = best_linear_unbiased(mean, variance, rho)
    coverage, square, unbiased = calibration_of(y, right)
    assert coverage == pytest.approx(0.9, abs=SIGMAS * np.sqrt(0.09 / N))
    assert square == pytest.approx(1, abs=SIGMAS * np.sqrt(2 / N))
    assert unbiased.mean() == pytest.approx(np.sqrt(2 / np.pi * right.variance[0, 0]), rel=SIGMAS * 0.756 / np.sqrt(N))
    gain = naive - unbiased
    assert gain.mean() > -SIGMAS * gain.std() / np.sqrt(N)


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_the_joint_gaussian_is_calibrated_row_by_row_and_beats_best_linear_unbiased(kappa):
    noise = np.random.default_rng(1).uniform(0.05, 0.6, size=(2, N))
    y, mean, variance = simulated(N, noise, 2, kappa)
    fused = joint_gaussian(mean, variance, MU, TAU2, kappa, cap=False)
    for rows in (slice(None), variance[0, :, 0] < np.median(variance[0]), variance[1, :, 0] > np.median(variance[1])):
        z = ((y - fused.mean) / np.sqrt(fused.variance))[rows]
        assert (np.abs(z) <= WIDE).mean() == pytest.approx(0.9, abs=SIGMAS * np.sqrt(0.09 / len(z)))
        assert (z**2).mean() == pytest.approx(1, abs=SIGMAS * np.sqrt(2 / len(z)))
    pairs = of_errors(np.array([[1, kappa], [kappa, 1]]), np.moveaxis(variance[..., 0], 0, -1), np.full(N, TAU2))
    unbiased = best_linear_unbiased(mean, variance, pairs[:, None])
    gain = np.abs(y - unbiased.mean) - np.abs(y - fused.mean)
    assert gain.mean() > SIGMAS * gain.std() / np.sqrt(N)


def test_fitted_on_few_rows_the_intervals_still_cover():
    coverages = []
    for seed in range(40):
        fitted = simulated(150, NOISE, seed)
        parameters = fit_joint_parameters(*fitted)
        y, mean, variance = simulated(2000, NOISE, 1000 + seed)
        mean[1, 1000:] = NAN
        for rule in (parameters.joint_gaussian, parameters.best_linear_unbiased):
            fused = rule(mean, variance)
            inside = np.abs(y - fused.mean) <= WIDE * np.sqrt(fused.variance)
            coverages.append([inside[:1000].mean(), inside[1000:].mean()])
    assert ((np.mean(coverages, axis=0) > 0.85) & (np.mean(coverages, axis=0) < 0.95)).all()


def test_correlations_are_found_again():
    rows = 20_000
    y, mean, variance = simulated(rows, NOISE, 5)
    found = estimate_error_correlation(y, mean)
    rho = of_errors(np.array([[1, KAPPA], [KAPPA, 1]]), variance[:, 0, 0], TAU2)[0, 1]
    shrunk = (rows * rho + 20 * 0.5) / (rows + 20)
    assert found.errors[0, 0, 1] == pytest.approx(shrunk, abs=SIGMAS * (1 - rho**2) / np.sqrt(rows))
    assert found.given_truth[0, 0, 1] == pytest.approx(KAPPA, abs=SIGMAS * (1 - KAPPA**2) / np.sqrt(rows))
    assert found.rows.tolist() == [[[0, rows], [rows, 0]]]
    assert not found.assumed.any()


def test_correlation_of_the_errors_is_that_of_numpy_drawn_to_a_half():
    rng = np.random.default_rng(7)
    y, mean = rng.normal(size=(60, 2)), rng.normal(size=(2, 60, 2))
    mean[0, :5, 0], y[-3:, 1] = NAN, NAN
    found = estimate_error_correlation(y, mean)
    for axis, rows in ((0, slice(5, None)), (1, slice(None, -3))):
        error = (y - mean)[:, rows, axis]
        n = error.shape[1]
        expected = (n * np.corrcoef(error)[0, 1] + 10) / (n + 20)
        assert found.errors[axis, 0, 1] == pytest.approx(expected, abs=1e-12)
        inverse = np.linalg.inv(np.corrcoef(np.stack([y[rows, axis], *mean[:, rows, axis]])))
        partial = -inverse[1, 2] / np.sqrt(inverse[1, 1] * inverse[2, 2])
        assert found.given_truth[axis, 0, 1] == pytest.approx((n * partial + 10) / (n + 20), abs=1e-12)


def test_correlation_of_the_errors_is_capped_where_a_weight_would_turn_negative():
    rng = np.random.default_rng(8)
    error = rng.normal(size=(500, 1))
    mean = np.stack([-error, -3 * error + 0.3 * rng.normal(size=(500, 1))])
    found = estimate_error_correlation(np.zeros((500, 1)), mean)
    size = np.sqrt((mean**2).mean(axis=(1, 2)))
    assert found.errors[0, 0, 1] == pytest.approx(size[0] / size[1], abs=1e-12)


@pytest.mark.parametrize(("rows", "groups"), [(9, 9), (200, 4), (0, 0)])
def test_of_too_little_the_correlation_is_assumed(rows, groups):
    y, mean, variance = simulated(200, NOISE, 3)
    mean[1, rows:] = NAN
    found = fit_joint_parameters(y, mean, variance, groups=np.arange(200) % max(groups, 1))
    assert found.errors[0, 0, 1] == found.given_truth[0, 0, 1] == 0.5
    assert found.assumed.tolist() == [[[False, True], [True, False]]]
    assert found.rows[0, 0, 1] == rows


def test_matrices_of_three_experts_are_semi_definite():
    rng = np.random.default_rng(9)
    y, noise = rng.normal(size=(60, 1)), rng.normal(size=(60, 1))
    mean = np.stack([y + noise, y - noise, y + 0.1 * rng.normal(size=(60, 1))])
    mean[0, :20], mean[1, 20:40], mean[2, 40:] = NAN, NAN, NAN
    mean[2, 20:40] = (y + noise)[20:40]
    found = estimate_error_correlation(y, mean, prior_rows=0.0)
    for matrix in (found.errors[0], found.given_truth[0]):
        assert np.linalg.eigvalsh(matrix)[0] > -1e-3
        np.testing.assert_allclose(np.diag(matrix), 1)


def test_prior_and_scales_are_those_of_the_joined_rows():
    y, mean, variance = simulated(400, NOISE, 4)
    y[100:] += 1.0
    mean[1, 100:] = NAN
    found = fit_joint_parameters(y, mean, 2 * variance, prior_rows=0.0)
    assert found.prior_mean == pytest.approx(y[:100].mean(axis=0), abs=1e-12)
    assert found.prior_variance == pytest.approx(y[:100].var(axis=0), abs=1e-12)
    expected = ((y - mean)[:, :100] ** 2 / (2 * variance[:, :100])).mean(axis=1)
    np.testing.assert_allclose(found.variance_scale, expected, atol=1e-12)
    scaled = found.joined_variance(mean, variance)
    np.testing.assert_allclose(scaled[:, :100], variance[:, :100] * expected[:, None], atol=1e-12)
    np.testing.assert_array_equal(scaled[:, 100:], variance[:, 100:])


def test_a_ratio_of_variances_is_followed_only_where_it_tells():
    noise = np.random.default_rng(12).uniform(0.01, 1.0, size=(2, 1500))
    told, mean, variance = simulated(1500, noise, 13)
    assert fit_joint_parameters(told, mean, variance).ratio_power.tolist() == [1.0]
    jitter = np.exp(0.15 * np.random.default_rng(14).normal(size=(2, 1500, 1)))
    y, mean, variance = simulated(1500, NOISE, 15)
    blind = fit_joint_parameters(y, mean, variance * jitter)
    assert blind.ratio_power.tolist() == [0.0]
    # Without the ratio a row keeps its level: variances of it stay as one to the other, and their product the row's.
    evened = blind.joined_variance(mean, variance * jitter) / blind.variance_scale[:, None]
    typical = blind.typical_variance[:, None]
    np.testing.assert_allclose((evened / typical)[0], (evened / typical)[1], rtol=1e-12)
    np.testing.assert_allclose(evened.prod(axis=0), (variance * jitter).prod(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        blind.typical_variance[:, 0], np.exp(np.log(variance * jitter).mean(axis=(1, 2))), rtol=1e-12
    )


def test_parameters_are_stored_and_checked():
    found = fit_joint_parameters(*simulated(50, NOISE, 6))
    again = JointParameters.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.assumed.dtype == bool
    with pytest.raises(DataError, match="given_truth"):
        JointParameters.from_dict({key: each for key, each in found.to_dict().items() if key != "given_truth"})
    with pytest.raises(DataError, match="no joint parameters"):
        JointParameters.from_dict({**found.to_dict(), "errors": "x"})
    with pytest.raises(DataError, match="shapes"):
        JointParameters.from_dict({**found.to_dict(), "prior_mean": [0.0, 0.0]})
    with pytest.raises(DataError, match="above 0"):
        JointParameters.from_dict({**found.to_dict(), "prior_variance": [0.0]})
    with pytest.raises(DataError, match="differ"):
        fit_joint_parameters(np.zeros((50, 1)), np.zeros((2, 50, 1)), np.ones((2, 50, 1)))


def test_experts_never_seen_together_are_joined_by_the_assumed_correlation():
    assumed = assumed_joint_parameters([0.0, 0.1], [0.2, 0.1])
    mean, variance = np.array([[[0.3, 0.2]], [[-0.1, 0.4]]]), np.full((2, 1, 2), 0.08)
    expected = joint_gaussian(mean, variance, [0.0, 0.1], [0.2, 0.1], 0.5)
    np.testing.assert_array_equal(assumed.joint_gaussian(mean, variance).mean, expected.mean)
    assert assumed.assumed.sum() == 4


def test_fused_variances_are_scaled_by_kind_of_row():
    y = np.array([[0.0], [0.0], [0.0], [NAN]])
    mean = np.array([[[0.1], [0.1], [0.1], [0.1]], [[NAN], [0.2], [0.2], [NAN]]])
    fused, variance = np.array([[0.2], [0.3], [0.1], [0.1]]), np.full((4, 1), 0.01)
    found = fused_variance_scale(y, fused, variance, mean)
    # z² is 4 on the row with one expert; 9 and 1 on the rows with both.
    assert found.one[0] == pytest.approx((20 + 4) / 21, abs=1e-12)
    assert found.several[0] == pytest.approx((20 + 9 + 1) / 22, abs=1e-12)
    assert found.rows.tolist() == [[1], [2]]
    again = FusedScale.from_dict(json.loads(json.dumps({k: v.tolist() for k, v in found.to_dict().items()})))
    np.testing.assert_allclose(again.apply(variance, mean)[:, 0], 0.01 * np.array([24 / 21, 30 / 22, 30 / 22, 24 / 21]))
    none = fused_variance_scale(y * NAN, fused, variance, mean)
    assert (none.one[0], none.several[0]) == (1, 1)


def test_scaling_makes_the_mean_squared_z_one_where_rows_are_many():
    y, mean, variance = simulated(20_000, NOISE, 10)
    fused = inverse_variance(mean, variance)
    scaled = fused_variance_scale(y, fused.mean, fused.variance, mean).apply(fused.variance, mean)
    assert ((y - fused.mean) ** 2 / scaled).mean() == pytest.approx(1, abs=20 / 20_000)


def test_constant_variances_are_told():
    rng = np.random.default_rng(11)
    variance = np.stack([np.full((50, 2), 0.1), rng.uniform(0.05, 0.2, size=(50, 2)), np.full((50, 2), NAN)])
    variance[0, :, 1] *= 1 + 1e-6 * rng.normal(size=50)
    variance[0, 7, 0] = NAN
    assert is_constant(variance).tolist() == [[True, True], [False, False], [False, False]]
    assert is_constant(variance[0, :1]).tolist() == [False, False]
