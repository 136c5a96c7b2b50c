"""The joint Gaussian of the truth and its experts: against conditioning written out, its special cases, gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.errors import ConfigError
from emofuse.fusion.correlation_matrices import bounded_correlation
from emofuse.fusion.joint_gaussian import given_truth, joint_gaussian, of_errors
from emofuse.fusion.rules import best_linear_unbiased

NAN = np.nan
MU, TAU2 = np.array([0.1, -0.2]), np.array([0.4, 0.35])


def random_experts(rng, count, rows=40):
    mean = rng.normal(size=(count, rows, 2)) * 0.3
    return mean, rng.uniform(0.01, 0.3, size=(count, rows, 2))


def random_correlation(rng, count):
    root = rng.normal(size=(count, count + 1))
    covariance = root @ root.T
    sigma = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sigma, sigma)


def conditioned(mean, variance, mu, tau2, errors):
    """The posterior by numpy.linalg from nothing but τ², the v_k and the correlation of the errors.

    From `cov(y, m_k) = τ² - v_k` and the covariance c_kl of the errors: `cov(m_k, m_l) = c_kl + τ² - v_k - v_l`.
    """
    sigma = np.sqrt(variance)
    between = errors * np.outer(sigma, sigma) + tau2 - variance[:, None] - variance
    with_truth = tau2 - variance
    whole = np.block([[np.array([[tau2]]), with_truth[None]], [with_truth[:, None], between]])
    assert np.linalg.eigvalsh(whole)[0] > 0
    weights = np.linalg.solve(between, with_truth)
    return mu + weights @ (mean - mu), tau2 - weights @ with_truth, weights


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_it_is_the_conditional_of_a_multivariate_normal(count):
    rng = np.random.default_rng(count)
    for _ in range(50):
        mean, variance = rng.normal(size=count), rng.uniform(0.02, 0.29, size=count)
        kappa = random_correlation(rng, count)
        rho = of_errors(kappa, variance, 0.3)
        expected = conditioned(mean, variance, 0.1, 0.3, rho)
        fused = joint_gaussian(mean, variance, 0.1, 0.3, kappa, cap=False)
        assert fused.mean == pytest.approx(expected[0], rel=1e-9, abs=1e-12)
        assert fused.variance == pytest.approx(expected[1], rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(fused.weights, expected[2] / expected[2].sum(), rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(given_truth(rho, variance, 0.3), kappa, atol=1e-12)


def test_independent_given_the_truth_counts_the_prior_once():
    mean, variance = random_experts(np.random.default_rng(0), 2)
    fused = joint_gaussian(mean, variance, MU, TAU2)
    precision = 1 / variance[0] + 1 / variance[1] - 1 / TAU2
    expected = MU + ((mean[0] - MU) / variance[0] + (mean[1] - MU) / variance[1]) / precision
    np.testing.assert_allclose(fused.variance, 1 / precision, atol=1e-12)
    np.testing.assert_allclose(fused.mean, expected, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("cap", [True, False])
@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5])
def test_a_flat_prior_gives_the_best_linear_unbiased(rho, cap, count):
    mean, variance = random_experts(np.random.default_rng(1), count)
    mean[0, :5], variance[-1, 5:8] = NAN, NAN
    fused = joint_gaussian(mean, variance, MU, np.inf, rho, cap=cap)
    bounded = bounded_correlation(rho, np.where(np.isnan(mean), NAN, variance))
    plain = best_linear_unbiased(mean, variance, bounded if cap else rho)
    np.testing.assert_allclose(fused.mean, plain.mean, atol=1e-12)
    np.testing.assert_allclose(fused.variance, plain.variance, atol=1e-12)
    np.testing.assert_allclose(fused.weights, plain.weights, atol=1e-12)


def test_goldens_of_best_linear_unbiased_hold_under_a_flat_prior():
    # Closed forms of two experts (.6, .09) and (-.2, .25): w = (v2 - c) / (v1 + v2 - 2 c), c = rho sqrt(v1 v2).
    for rho, mean, variance in ((0.3, 0.456, 0.0819), (0.5, 0.5368421053, 0.0888157895), (0.6, 0.6, 0.09)):
        fused = joint_gaussian([0.6, -0.2], [0.09, 0.25], 0.0, np.inf, rho)
        assert fused.mean == pytest.approx(mean, abs=1e-10)
        assert fused.variance == pytest.approx(variance, abs=1e-10)


def test_a_missing_expert_leaves_the_other_as_it_came():
    for rho in (0.0, 0.5, 0.9):
        fused = joint_gaussian(
            [[0.3, NAN, 0.3, NAN], [NAN, 0.2, 0.9, NAN]], [[0.1, NAN, 0.1, 0.1], [0.2, 0.3, NAN, NAN]], 0.0, 0.25, rho
        )
        np.testing.assert_array_equal(fused.mean, [0.3, 0.2, 0.3, NAN])
        np.testing.assert_array_equal(fused.variance, [0.1, 0.3, 0.1, NAN])
        np.testing.assert_array_equal(fused.weights, [[1, 0, 1, NAN], [0, 1, 0, NAN]])
        assert fused.valid.tolist() == [True, True, True, False]


def test_an_expert_that_adds_nothing_gets_no_weight():
    tau2, first, second = 0.25, 0.1, 0.2
    # Where the correlation of the errors is sigma1 / sigma2, y - m1 and m2 do not correlate: nothing is left to learn.
    rho = np.array([[1.0, np.sqrt(first / second)], [np.sqrt(first / second), 1.0]])
    kappa = given_truth(rho, [first, second], tau2)
    assert kappa[0, 1] == pytest.approx(np.sqrt(first / (1 - first / tau2) / (second / (1 - second / tau2))), abs=1e-12)
    for each in (kappa, np.where(np.eye(2) > 0, 1.0, 0.99)):
        fused = joint_gaussian([0.3, -0.7], [first, second], 0.0, tau2, each)
        assert fused.mean == pytest.approx(0.3, abs=1e-12)
        assert fused.variance == pytest.approx(first, abs=1e-12)
    for useless in (tau2, 2 * tau2):
        fused = joint_gaussian([0.3, -0.7], [first, useless], 0.0, tau2, 0.0)
        assert (fused.mean, fused.variance) == (0.3, first)
    # Under the model the means go to the prior's as the variance does, and so the limit is continuous.
    near = joint_gaussian([0.3, 1e-9], [first, tau2 * (1 - 1e-5)], 0.0, tau2, 0.0)
    assert near.mean == pytest.approx(0.3, abs=1e-5)
    assert near.variance == pytest.approx(first, abs=1e-5)


def test_if_none_knows_more_than_the_prior_the_narrowest_stands_for_them():
    fused = joint_gaussian([0.3, -0.7], [0.4, 0.3], 0.0, 0.25)
    assert (fused.mean, fused.variance, fused.weights.tolist()) == (-0.7, 0.3, [0, 1])


def test_unknown_variances_are_pooled_or_leave_equal_weights():
    fused = joint_gaussian([0.4, 0.2], [0.1, NAN], 0.0, 0.25, pooled=[0.3, 0.2])
    known = joint_gaussian([0.4, 0.2], [0.1, 0.2], 0.0, 0.25)
    assert (fused.mean, fused.variance) == (known.mean, known.variance)
    assert fused.source.tolist() == ["model", "pooled"]
    blind = joint_gaussian([0.4, 0.2], [NAN, 0.0], 0.0, 0.25)
    assert blind.mean == pytest.approx(0.3, abs=1e-12)
    assert np.isnan(blind.variance)
    assert blind.weights.tolist() == [0.5, 0.5]


def test_timid_experts_that_agree_are_followed_further_out():
    fused = joint_gaussian([0.2, 0.2], [0.3, 0.3], 0.0, 0.4)
    assert fused.mean == pytest.approx(0.4 / 0.3 / (2 / 0.3 - 1 / 0.4), abs=1e-12)
    assert fused.mean > 0.2


@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(-0.9, 0.99))
@settings(max_examples=60, deadline=None)
def test_every_row_stands_by_itself_and_never_widens(seed, count, rho):
    rng = np.random.default_rng(seed)
    mean, variance = random_experts(rng, count, rows=12)
    mean[rng.random(mean.shape) < 0.3] = NAN
    variance[rng.random(mean.shape) < 0.1] = NAN
    rho = max(rho, -0.9 / max(count - 1, 1))
    fused = joint_gaussian(mean, variance, MU, TAU2, rho)
    row = joint_gaussian(mean[:, 5], variance[:, 5], MU, TAU2, rho)
    np.testing.assert_allclose(row.mean, fused.mean[5], rtol=1e-10)
    np.testing.assert_allclose(row.variance, fused.variance[5], rtol=1e-10)
    least = np.where(np.isfinite(mean) & np.isfinite(variance), variance, np.inf).min(axis=0)
    known = np.isfinite(fused.variance)
    assert (fused.variance[known] <= least[known] * (1 + 1e-9)).all()
    assert (fused.variance[known] > 0).all()
    assert np.array_equal(fused.valid, np.isfinite(mean).any(axis=0))
    order = rng.permutation(count)
    other = joint_gaussian(mean[order], variance[order], MU, TAU2, rho)
    np.testing.assert_allclose(other.mean, fused.mean, rtol=1e-8, atol=1e-10)


def test_bounded_correlations_are_positive_definite_and_lean_to_the_best_expert():
    rng = np.random.default_rng(3)
    variance = 10 ** rng.uniform(-3, 0, size=(4, 200, 2))
    hostile = np.full((4, 4), 0.99)
    hostile[0, 1] = hostile[1, 0] = -0.9
    np.fill_diagonal(hostile, 1)
    bounded = bounded_correlation(hostile, variance)
    assert np.linalg.eigvalsh(hostile)[0] < 0
    # At least 1e-4 of the least eigenvalue of the matrix it leans to, which is .999 of a correlation and .001 of 1.
    assert (np.linalg.eigvalsh(bounded)[..., 0] > 0.99e-7).all()
    np.testing.assert_allclose(bounded, np.swapaxes(bounded, -1, -2), atol=1e-12)
    alone = best_linear_unbiased(variance, variance, bounded_correlation(0.9999, variance))
    np.testing.assert_allclose(alone.variance, variance.min(axis=0), rtol=0.02)
    two = best_linear_unbiased(variance[:2], variance[:2], bounded_correlation(0.9, variance[:2]))
    same = best_linear_unbiased(variance[:2], variance[:2], 0.9, cap=True)
    np.testing.assert_allclose(two.weights, same.weights, atol=1e-12)
    assert (two.weights >= -1e-12).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1], [0.1], 0.0, 0.0), "prior variance must be above 0"),
        (([0.1], [0.1], 0.0, NAN), "prior variance must be above 0"),
        (([0.1, 0.2], [0.1, 0.1], 0.0, 1.0, 1.0), "strictly between -1 and 1"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        joint_gaussian(*arguments)
    with pytest.raises(ConfigError, match="between 0 and the prior"):
        given_truth([[1.0]], [0.5], 0.4)
