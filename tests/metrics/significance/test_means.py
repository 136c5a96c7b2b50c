"""The ratio mean against matrices written out, Student's tests of scipy, and published numbers."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from emofuse.metrics.significance import ratio_mean, sign_permutation, t_interval

TRUTH = np.array([-0.8, -0.5, -0.2, 0, 0.1, 0.4, 0.6, 0.9])
A = np.array([-0.6, -0.55, 0.1, -0.1, 0.2, 0.2, 0.5, 0.7])
B = np.array([-0.2, -0.5, 0.3, 0.2, 0, 0.1, 0.7, 0.3])
LOSSES = np.abs(A - TRUTH) - np.abs(B - TRUTH)


def grouped(seed, groups=9, columns=()):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.geometric(1 / 3.4, groups))
    return rng.normal(0.1, 1, (len(group), *columns)) + rng.normal(size=(groups, *columns))[group], group


def with_matrices(values, group):
    """Mean, SE and degrees of freedom of Bell and McCaffrey for a regression on a constant, with full matrices."""
    n = len(values)
    x = np.ones((n, 1))
    bread = np.linalg.inv(x.T @ x)
    hat = x @ bread @ x.T
    beta = bread @ x.T @ values
    residuals = values - x @ beta
    meat, columns = np.zeros((1, 1)), []
    for name in np.unique(group):
        rows = np.flatnonzero(group == name)
        own = np.eye(len(rows)) - hat[np.ix_(rows, rows)]
        adjust = np.linalg.inv(scipy.linalg.sqrtm(own).real)
        score = x[rows].T @ adjust @ residuals[rows]
        meat += np.outer(score, score)
        columns.append((np.eye(n) - hat)[rows].T @ adjust @ x[rows] @ bread)
    g = np.hstack(columns)
    eigenvalues = np.linalg.eigvalsh(g.T @ g)
    return beta[0], np.sqrt((bread @ meat @ bread)[0, 0]), eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()


@pytest.mark.parametrize("seed", range(5))
def test_cr2_and_satterthwaite_with_matrices(seed):
    values, group = grouped(seed)
    ours = ratio_mean(values, group)
    np.testing.assert_allclose((ours.estimate, ours.se, ours.df), with_matrices(values, group), rtol=1e-10)
    assert ours.p == pytest.approx(2 * scipy.stats.t.sf(abs(ours.estimate) / ours.se, ours.df), rel=1e-9)
    half = scipy.stats.t.ppf(0.975, ours.df) * ours.se
    assert (ours.low, ours.high) == pytest.approx((ours.estimate - half, ours.estimate + half), rel=1e-9)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_groups_of_equal_size_are_the_t_test_of_their_means(confidence):
    values = np.random.default_rng(1).normal(0.3, 1, (7, 4))
    ours = ratio_mean(values.ravel(), np.repeat(list("abcdefg"), 4), confidence=confidence)
    theirs = scipy.stats.ttest_1samp(values.mean(1), 0)
    assert (ours.p, ours.df) == pytest.approx((theirs.pvalue, theirs.df), rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(confidence)), rel=1e-10)
    assert t_interval(ours.estimate, ours.se, ours.df, confidence) == pytest.approx((ours.low, ours.high))
    assert (ours.n, ours.n_groups, ours.n_effective_groups) == (28, 7, 7)


def test_eight_published_rows():
    # scipy 1.17 stats.ttest_rel of the absolute errors.
    ours = ratio_mean(LOSSES)
    assert ours.p == pytest.approx(0.0543259948, abs=1e-10)
    assert abs(ours.estimate / ours.se) == pytest.approx(2.3082585544, abs=1e-10)
    assert sign_permutation(LOSSES) == 0.0625


def test_columns_are_inferred_one_by_one():
    values, group = grouped(2, columns=(3,))
    values[[0, 5, 6], 1] = np.nan
    values[:, 2] = np.where(group == group[0], np.nan, values[:, 2])
    together = ratio_mean(values, group, confidence=0.9)
    for k in range(3):
        known = np.isfinite(values[:, k])
        alone, column = ratio_mean(values[known, k], group[known], confidence=0.9), together.at(k)
        assert vars(column) == pytest.approx(vars(alone), rel=1e-12)


def test_effective_groups():
    assert ratio_mean(np.arange(6.0), [0, 0, 0, 0, 1, 2]).n_effective_groups == pytest.approx(36 / 18)


def test_minimum_detectable_difference_is_seen_8_times_of_10():
    for seed, groups in enumerate((8, 12, 60)):
        values, group = grouped(seed, groups)
        ours = ratio_mean(values, group)
        bound = scipy.stats.t.ppf(0.975, ours.df)
        # The quantiles of the central t are the textbook's shortcut for those of the noncentral one.
        power = scipy.stats.nct.sf(bound, ours.df, ours.minimum_detectable / ours.se)
        assert power == pytest.approx(0.8, abs=0.02)


def test_too_little_to_say_is_said_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = ratio_mean([1, 2, 3], [0, 0, 0])
        nothing = ratio_mean([np.nan, np.nan])
        none = ratio_mean([])
        equal, zero = ratio_mean([0.1] * 6, [0, 0, 1, 1, 1, 2]), ratio_mean([0.0] * 4)
    assert alone.estimate == 2
    assert np.isnan([alone.se, alone.df, alone.p, alone.low, alone.high, alone.minimum_detectable]).all()
    for found in (nothing, none):
        assert np.isnan([found.estimate, found.se, found.p, found.low]).all()
        assert (found.n, found.n_groups) == (0, 0)
    assert (equal.se, equal.p, equal.low) == (0, 0, equal.estimate)
    assert (zero.estimate, zero.se, zero.p, zero.low, zero.high) == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_all_signs_are_scipys_permutation_test(seed):
    values, group = grouped(seed, groups=8)
    sums = np.bincount(group, values)
    theirs = scipy.stats.permutation_test((sums, np.zeros(8)), lambda a, b: (a - b).sum(), permutation_type="samples")
    assert sign_permutation(values, group) == theirs.pvalue


def test_signs_of_what_is_tied_missing_or_too_much():
    assert sign_permutation([1, 1, np.nan, 1], ["a", "b", "c", "d"]) == 2 / 8
    assert sign_permutation([0.0, 0.0]) == 1
    assert np.isnan(sign_permutation([np.nan]))
    with pytest.raises(ValueError, match="at most 12 groups"):
        sign_permutation(np.ones(13))
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        sign_permutation(np.ones((3, 2)))


def test_refuses():
    with pytest.raises(ValueError, match="confidence within"):
        ratio_mean([1, 2], confidence=95)
    with pytest.raises(ValueError, match="groups of shape"):
        ratio_mean([1, 2], ["a"])
    with pytest.raises(ValueError, match=r"\(N, K\)"):
        ratio_mean(np.ones((2, 2, 2)))
