"""Metrics of accuracy against published numbers and independent implementations."""

import warnings

import audmetric
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional import concordance_corrcoef, pearson_corrcoef, spearman_corrcoef

from emofuse.metrics.accuracy import METRICS, bias, concordance, mae, pearson, rmse, sagr, spearman

TRUTH = [-0.8, -0.5, -0.2, 0, 0.1, 0.4, 0.6, 0.9]
MEAN = [-0.6, -0.55, 0.1, -0.1, 0.2, 0.2, 0.5, 0.7]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (concordance, 0.934746047763202),  # audmetric 1.4, moments with 1/n
        (pearson, 0.955098037516953),  # scipy 1.17
        (spearman, 0.97007727214974),  # scipy 1.17
        (mae, 0.15625),  # by hand
        (rmse, 0.174104853464803),  # numpy
        (sagr, 0.75),  # EmoNet's rule: a zero agrees with a zero only
        (bias, -0.00625),  # by hand
    ],
)
def test_eight_rows(metric, expected):
    assert metric(TRUTH, MEAN) == pytest.approx(expected, abs=1e-12)


def test_documented_examples_of_other_libraries():
    # The documentation of torchmetrics (there with 1/(n-1): .9777) and of audmetric.
    assert concordance([3, -0.5, 2, 7], [2.5, 0, 2, 8]) == pytest.approx(0.97678916827853, abs=1e-12)
    assert concordance([0, 1, 2], [0, 1, 1]) == pytest.approx(0.6666666666666665, abs=1e-15)
    assert pearson([3, -0.5, 2, 7], [2.5, 0, 2, 8]) == pytest.approx(0.9849, abs=5e-5)
    assert spearman([3, -0.5, 2, 7], [2.5, 0, 2, 8]) == 1


@pytest.mark.parametrize("n", [2, 9, 200])
def test_independent_implementations(n):
    rng = np.random.default_rng(n)
    y, m = rng.normal(size=n), rng.normal(size=n).round(1)
    assert concordance(y, m) == pytest.approx(audmetric.concordance_cc(y, m), abs=1e-12)
    assert pearson(y, m) == pytest.approx(audmetric.pearson_cc(y, m), abs=1e-12)
    assert pearson(y, m) == pytest.approx(float(pearson_corrcoef(torch.tensor(m), torch.tensor(y))), abs=1e-6)
    assert spearman(y, m) == pytest.approx(scipy.stats.spearmanr(y, m).statistic, abs=1e-12)
    assert spearman(y, m) == pytest.approx(float(spearman_corrcoef(torch.tensor(m), torch.tensor(y))), abs=1e-5)
    assert mae(y, m) == pytest.approx(sklearn.metrics.mean_absolute_error(y, m), abs=1e-12)
    assert rmse(y, m) == pytest.approx(sklearn.metrics.root_mean_squared_error(y, m), abs=1e-12)
    assert rmse(y, m) == pytest.approx(audmetric.mean_squared_error(y, m) ** 0.5, abs=1e-12)


def test_concordance_differs_from_the_form_with_n_minus_one():
    # torchmetrics divides by n - 1 throughout, which changes the weight of the squared bias.
    y, m = torch.tensor(TRUTH, dtype=torch.float64), torch.tensor(MEAN, dtype=torch.float64)
    assert float(concordance_corrcoef(m, y)) == pytest.approx(0.934755873232774, abs=1e-9)
    assert abs(concordance(TRUTH, MEAN) - float(concordance_corrcoef(m, y))) > 9e-6


@pytest.mark.parametrize("n", range(2, 11))
def test_concordance_with_itself_is_one(n):
    # A covariance with 1/n over variances with 1/(n-1) would give (n-1)/n, e.g. .875 for n = 8.
    x = np.random.default_rng(n).normal(size=n)
    assert concordance(x, x) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1 / 3])
def test_constants(constant):
    flat = np.full(7, constant)
    varied = np.linspace(-1, 1, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert concordance(varied, flat) == 0
        assert concordance(flat, varied) == 0
        assert concordance(flat, flat + 1) == 0
        assert np.isnan(concordance(flat, flat))
        assert np.isnan(pearson(varied, flat))
        assert np.isnan(spearman(varied, flat))


def test_sign_agreement_knows_zero():
    assert sagr([0, 0, 1, -1], [0, 1, 0, -2]) == 0.5
    assert sagr([0.0], [-0.0]) == 1


@pytest.mark.parametrize("name", METRICS)
def test_missing_rows_are_left_out_per_axis(name):
    rng = np.random.default_rng(0)
    y, m = rng.normal(size=(2, 30, 2))
    y[3, 0], m[5, 0], m[7, 1], y[7, 1] = np.nan, np.nan, np.nan, np.inf
    metric = METRICS[name]
    both = metric(y, m)
    assert isinstance(both, np.ndarray)
    assert both.shape == (2,)
    keep = np.delete(np.arange(30), [3, 5]), np.delete(np.arange(30), 7)
    for axis in (0, 1):
        alone = metric(y[keep[axis], axis], m[keep[axis], axis])
        assert isinstance(alone, float)
        assert both[axis] == alone


@pytest.mark.parametrize("name", METRICS)
def test_no_row_is_not_a_number(name):
    assert np.isnan(METRICS[name]([], []))
    assert np.isnan(METRICS[name](np.full((4, 2), np.nan), np.zeros((4, 2)))).all()


@pytest.mark.parametrize(
    ("truth", "mean"),
    [(np.zeros(3), np.zeros(4)), (np.zeros((3, 2)), np.zeros(3)), (np.zeros((3, 3)), np.zeros((3, 3))), (0.0, 0.0)],
)
def test_shapes_are_checked(truth, mean):
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        mae(truth, mean)


series = arrays(np.float64, st.integers(2, 30), elements=st.floats(-1, 1).map(lambda x: round(x, 3)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), y=series)
def test_properties_of_concordance(data, y):
    m = data.draw(arrays(np.float64, len(y), elements=st.floats(-1, 1).map(lambda x: round(x, 3))))
    assume(np.ptp(y) > 0 or np.ptp(m) > 0)
    value = concordance(y, m)
    assert value == pytest.approx(concordance(m, y), abs=1e-12)
    assert -1 <= value <= 1
    if np.ptp(y) > 0:
        assert concordance(y, y) == pytest.approx(1, abs=1e-12)
        if np.ptp(m) > 0:
            assert abs(value) <= abs(pearson(y, m)) + 1e-12


@settings(max_examples=40, deadline=None)
@given(data=st.data(), y=series)
def test_order_of_rows_does_not_matter(data, y):
    m = data.draw(arrays(np.float64, len(y), elements=st.floats(-1, 1).map(lambda x: round(x, 3))))
    order = np.array(data.draw(st.permutations(range(len(y)))))
    for metric in METRICS.values():
        assert metric(y[order], m[order]) == pytest.approx(metric(y, m), abs=1e-10, nan_ok=True)
