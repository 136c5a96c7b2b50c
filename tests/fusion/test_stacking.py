"""Stacking: the regression it is, the cases it shares with the other rules, and that it may lean out again."""

import numpy as np
import pytest
from scipy.optimize import minimize

from emofuse import fusion
from emofuse.errors import DataError
from emofuse.metrics.accuracy import mae

NAN = np.nan


def experts(n=2000, seed=0, noise=(0.25, 0.25), shared=0.0):
    """Two experts calibrated for squared error (drawn to the middle), with their mean squared errors."""
    rng = np.random.default_rng(seed)
    truth = 0.35 * rng.normal(size=(n, 2))
    common = rng.normal(size=(n, 2))
    mean = []
    for sigma in noise:
        own = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=(n, 2))
        mean.append(0.35**2 / (0.35**2 + sigma**2) * (truth + sigma * own))
    mean = np.stack(mean)
    variance = np.broadcast_to(((truth - mean) ** 2).mean(axis=1, keepdims=True), mean.shape)
    return truth, mean, variance


def test_it_is_the_least_squares_fit():
    truth, mean, variance = experts(noise=(0.25, 0.3))
    stack = fusion.fit_stack(truth, mean, variance, prior_rows=0)
    middle = truth[:, 0].mean()
    oracle = np.linalg.lstsq(mean[:, :, 0].T - middle, truth[:, 0] - middle, rcond=None)[0]
    assert (oracle > 0).all()
    np.testing.assert_allclose(stack.weights[:, 0], oracle, atol=1e-9)
    assert stack.intercept[0] == pytest.approx((1 - oracle.sum()) * middle, abs=1e-12)
    error = ((truth[:, 0] - stack.intercept[0] - oracle @ mean[:, :, 0]) ** 2).mean()
    fused = fusion.stacked(mean, variance, stack)
    assert fused.variance[0, 0] == pytest.approx(error, rel=1e-9)


def test_its_prior_draws_it_to_the_constant_weights():
    truth, mean, variance = experts(60)
    constant = fusion.fit_constant_weight(truth, mean)
    far = fusion.fit_stack(truth, mean, variance, prior_rows=1e9)
    np.testing.assert_allclose(far.weights, constant, atol=1e-5)

    # Independent: the penalised loss itself, minimised with bounds.
    stack = fusion.fit_stack(truth, mean, variance, prior_rows=20)
    middle, w0 = truth[:, 0].mean(), constant[:, 0]
    y, m = truth[:, 0] - middle, mean[:, :, 0] - middle

    def loss(w):
        return ((y - w @ m) ** 2).sum() + 20 * (m**2).mean() * ((w - w0) ** 2).sum()

    oracle = minimize(loss, w0, bounds=[(0, None)] * 2, method="L-BFGS-B", options={"ftol": 1e-14}).x
    np.testing.assert_allclose(stack.weights[:, 0], oracle, atol=1e-5)


def test_it_leans_out_again_where_an_average_stays_timid():
    stack = fusion.fit_stack(*experts(seed=0))
    truth, mean, variance = experts(seed=1)
    best = min(mae(truth, each).mean() for each in mean)
    average = mae(truth, fusion.inverse_variance(mean, variance).mean).mean()
    assert mae(truth, fusion.stacked(mean, variance, stack).mean).mean() < min(best, average) - 0.005
    assert (stack.weights.sum(axis=0) > 1.1).all()


@pytest.mark.parametrize("n", [60, 120])
@pytest.mark.parametrize(("noise", "shared"), [((0.2, 0.6), 0.5), ((0.2, 0.3), 0.8), ((0.25, 0.25), 0.5)])
def test_it_does_not_lose_to_the_better_expert(n, noise, shared):
    # Inverse variance loses up to .017 in these; the mean over 20 fits has a standard error below .001.
    lost = []
    for seed in range(20):
        stack = fusion.fit_stack(*experts(n, seed, noise, shared))
        truth, mean, variance = experts(1000, 100 + seed, noise, shared)
        best = min(mae(truth, each).mean() for each in mean)
        lost.append(mae(truth, fusion.stacked(mean, variance, stack).mean).mean() - best)
    assert np.mean(lost) < 0.003


def test_missing_cases():
    stack = fusion.Stack(np.array([0.1, 0.0]), np.array([[0.8, 0.0], [0.4, 0.0]]), np.array([2.0, 1.0]))
    mean = np.array(
        [[[0.5, 0.5], [NAN, NAN], [0.2, 0.2], [NAN, NAN]], [[0.5, 0.5], [0.3, 0.3], [NAN, NAN], [NAN, NAN]]]
    )
    variance = np.full((2, 4, 2), 0.1)
    variance[1, 0, 0] = NAN
    fused = fusion.stacked(mean, variance, stack)
    np.testing.assert_allclose(fused.mean, [[0.7, 0.0], [0.3, 0.3], [0.2, 0.2], [NAN, NAN]])
    np.testing.assert_allclose(fused.variance[1:], [[0.1, 0.1], [0.1, 0.1], [NAN, NAN]])
    assert np.isnan(fused.variance[0, 0])
    assert fused.valid.tolist() == [[True, True]] * 3 + [[False, False]]
    np.testing.assert_allclose(fused.weights[:, 0], [[2 / 3, 0.5], [1 / 3, 0.5]])
    np.testing.assert_allclose(fused.weights[:, 1], [[0, 0], [1, 1]])
    pooled = fusion.stacked(mean, variance, stack, pooled=[0.3, 0.2])
    assert pooled.variance[0, 0] == pytest.approx(2 * (0.64 * 0.1 + 0.16 * 0.2))
    assert pooled.source[1, 0, 0] == "pooled"
    assert pooled.variance[0, 1] == 1e-4


def test_one_axis_and_too_few_rows():
    truth, mean, variance = experts(100)
    both = fusion.fit_stack(truth, mean, variance)
    one = fusion.fit_stack(truth[:, 0], mean[:, :, 0], variance[:, :, 0])
    np.testing.assert_allclose(one.weights, both.weights[:, 0], rtol=1e-12)
    np.testing.assert_allclose(
        fusion.stacked(mean[:, :, 0], variance[:, :, 0], one).mean, fusion.stacked(mean, variance, both).mean[:, 0]
    )
    with pytest.raises(DataError, match="10 rows"):
        fusion.fit_stack(truth[:9], mean[:, :9], variance[:, :9])
    again = fusion.Stack.from_dict(both.to_dict())
    np.testing.assert_array_equal(again.weights, both.weights)
