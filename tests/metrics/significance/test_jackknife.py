"""The jackknife from grouped sums against leaving every group out by hand, and Spearman's against ranking anew."""

import warnings

import numpy as np
import pytest
import scipy.stats

from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.significance import jackknife, jackknife_difference, ratio_mean
from emofuse.metrics.significance.ranks import rank_correlation

WAYS = {
    "ccc": (np.arctanh, np.tanh),
    "pearson": (np.arctanh, np.tanh),
    "rmse": (np.log, np.exp),
}


def made_up(seed, groups=15):
    rng = np.random.default_rng(seed)
    group = np.repeat(rng.permutation(groups), rng.geometric(1 / 3.4, groups))
    y = rng.normal(0.2, 0.4, len(group))
    a, b = (y * scale + rng.normal(0, 0.3, len(group)) + rng.normal(0, 0.1, groups)[group] for scale in (0.8, 0.5))
    return y, a, b, group


def left_out(metric, group, *arrays):
    """The metric without each group in turn, and its jackknife standard error."""
    values = np.array([metric(*(array[group != name] for array in arrays)) for name in np.unique(group)])
    return np.sqrt((len(values) - 1) / len(values) * np.square(values - values.mean()).sum())


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_one_system(name, seed):
    y, a, _, group = made_up(seed)
    there, back = WAYS[name]
    ours = jackknife(y, a, group, metrics=[name], confidence=0.9)[name]
    value, error = there(METRICS[name](y, a)), left_out(lambda t, m: there(METRICS[name](t, m)), group, y, a)
    df = ratio_mean(y, group).df
    half = scipy.stats.t.ppf(0.95, df) * error
    assert ours.estimate == pytest.approx(METRICS[name](y, a), abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx((back(value - half), back(value + half)), abs=1e-10)
    # In the metric's own units by the slope of the way back, here numerically.
    assert ours.se == pytest.approx(error * (back(value + 1e-6) - back(value - 1e-6)) / 2e-6, rel=1e-6)
    p = np.nan if name == "rmse" else 2 * scipy.stats.t.sf(abs(value / error), df)
    assert ours.p == pytest.approx(p, rel=1e-8, nan_ok=True)
    assert (ours.n, ours.n_groups) == (len(y), 15)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_difference_of_two(name, seed):
    y, a, b, group = made_up(seed)
    ours = jackknife_difference(y, a, b, group, metrics=[name])[name]

    def difference(t, first, second):
        return METRICS[name](t, first) - METRICS[name](t, second)

    error = left_out(difference, group, y, a, b)
    assert ours.estimate == pytest.approx(difference(y, a, b), abs=1e-12)
    assert ours.se == pytest.approx(error, rel=1e-8)
    assert ours.p == pytest.approx(2 * scipy.stats.t.sf(abs(ours.estimate) / error, ours.df), rel=1e-8)
    assert (ours.low + ours.high) / 2 == pytest.approx(ours.estimate)


def test_of_equal_groups_a_mean_is_the_ratio_mean():
    y, a = np.random.default_rng(0).normal(size=(2, 24))
    group = np.repeat(np.arange(8), 3)
    ours, theirs = jackknife(y, a, group, metrics=["bias"])["bias"], ratio_mean(a - y, group)
    assert vars(ours) == pytest.approx(vars(theirs), rel=1e-10)


def test_rows_without_a_value_are_left_out():
    y, a, b, group = made_up(4)
    gone = np.isin(group, [0, 3]) | (np.arange(len(y)) % 7 == 0)
    ours = jackknife_difference(y, np.where(gone, np.nan, a), b, group)
    for name, alone in jackknife_difference(y[~gone], a[~gone], b[~gone], group[~gone]).items():
        assert vars(ours[name]) == vars(alone)


def test_too_little_to_say_is_said_without_warnings():
    y, a, _, group = made_up(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = jackknife(y, a, np.zeros(len(y)))["ccc"]
        nothing = jackknife(y, np.full(len(y), np.nan), group)
        perfect = jackknife(y, y, group)
        constant = jackknife(y, np.full(len(y), 0.5), group)
        same = jackknife_difference(y, a, a, group)
        scaled = jackknife_difference(y, a, 0.7 * a, group, metrics=["pearson"])["pearson"]
    assert np.isfinite(alone.estimate)
    assert np.isnan([alone.se, alone.df, alone.p, alone.low]).all()
    assert all(np.isnan(found.estimate) and found.n == 0 for found in nothing.values())
    assert [found.estimate for found in perfect.values()] == pytest.approx([0, 1, 1])
    assert all(np.isnan(found.se) for found in perfect.values())
    assert constant["ccc"].estimate == 0
    assert np.isnan(constant["pearson"].estimate)
    for found in (*same.values(), scaled):
        assert (found.estimate, found.se, found.p) == (0, 0, 1)


def test_both_axes_at_once_are_averaged():
    (y, a, b, group), (y2, a2, b2, _) = made_up(4), made_up(4)
    both = np.column_stack([y, y2[::-1]]), np.column_stack([a, a2[::-1]]), np.column_stack([b, b2[::-1]])
    both[1][5, 1] = np.nan

    def difference(t, first, second):
        return np.mean(METRICS["ccc"](t, first) - METRICS["ccc"](t, second))

    ours = jackknife_difference(*both, group, metrics=["ccc"])["ccc"]
    known = np.isfinite(both[1]).all(axis=1)
    rows = [values[known] for values in both]
    assert ours.estimate == pytest.approx(difference(*rows), abs=1e-12)
    assert ours.se == pytest.approx(left_out(difference, group[known], *rows), abs=1e-10)
    assert ours.n == known.sum()


def test_refuses():
    y, a, b, group = made_up(6)
    with pytest.raises(ValueError, match="unknown spearman"):
        jackknife(y, a, group, metrics=["spearman"])
    with pytest.raises(ValueError, match="one shape"):
        jackknife(np.ones((4, 2)), np.ones(4))
    with pytest.raises(ValueError, match="confidence"):
        jackknife_difference(y, a, b, group, confidence=0)


@pytest.mark.parametrize("digits", [0, 1, 9], ids=["many ties", "some ties", "no ties"])
def test_spearman_by_influence_is_ranking_anew(digits):
    y, a, _, group = made_up(7, groups=120)
    y, a = np.round(5 * y, digits), np.round(5 * a, digits)
    ours = rank_correlation(y, a, group)
    theirs = scipy.stats.spearmanr(y, a).statistic
    assert ours.estimate == pytest.approx(theirs, abs=1e-12)
    # The influence function is the jackknife's limit: at 120 groups they part by a few in a hundred.
    assert ours.se == pytest.approx(left_out(lambda t, m: scipy.stats.spearmanr(t, m).statistic, group, y, a), rel=0.05)
    assert ours.low < ours.estimate < ours.high


def test_influence_is_the_derivative():
    # Doubling the weight of one row is repeating it: (rho(with) - rho) n tends to its influence.
    from emofuse.metrics.significance.ranks import _influence

    y, a, _, _ = made_up(8, groups=300)
    rho, influence = _influence(y, a)
    rows = [0, 10, 200]
    repeated = [scipy.stats.spearmanr(np.append(y, y[i]), np.append(a, a[i])).statistic for i in rows]
    np.testing.assert_allclose((np.array(repeated) - rho) * len(y), influence[rows], atol=0.02)
    assert influence.mean() == pytest.approx(0, abs=1e-12)


def test_spearman_of_a_constant_is_undefined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = rank_correlation([1, 2, 3], [1, 1, 1])
        perfect = rank_correlation([1, 2, 3], [10, 20, 40])
        none = rank_correlation([], [])
    assert np.isnan([constant.estimate, constant.low, none.estimate]).all()
    assert perfect.estimate == pytest.approx(1)
    assert np.isnan(perfect.low)
