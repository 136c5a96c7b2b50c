"""Paired tests against published numbers, scipy, statsmodels and plain loops."""

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from emofuse.metrics.accuracy import METRICS, bias, concordance, mae
from emofuse.metrics.resampling.intervals import interval
from emofuse.metrics.resampling.sums import SUMMABLE
from emofuse.metrics.significance import corrected_resampled_ttest, holm, paired_bootstrap, paired_permutation

TRUTH = np.array([-0.8, -0.5, -0.2, 0, 0.1, 0.4, 0.6, 0.9])
A = np.array([-0.6, -0.55, 0.1, -0.1, 0.2, 0.2, 0.5, 0.7])
B = np.array([-0.2, -0.5, 0.3, 0.2, 0, 0.1, 0.7, 0.3])


def by_call(name):
    """The same metric, unknown to the quick path."""
    return lambda truth, mean: METRICS[name](truth, mean)


@pytest.mark.parametrize("statistic", [concordance, by_call("ccc")], ids=["sums", "calls"])
def test_bootstrap_of_eight_rows(statistic):
    # scipy 1.17 stats.bootstrap, 9999 resamples, default_rng(0).
    bca = paired_bootstrap(TRUTH, A, B, statistic, rng=np.random.default_rng(0))
    assert bca.difference == pytest.approx(0.2883372079842, abs=1e-12)
    assert (bca.ci_low, bca.ci_high) == pytest.approx((0.0271, 0.5353), abs=1e-3)
    plain = paired_bootstrap(TRUTH, A, B, statistic, method="percentile", rng=np.random.default_rng(0))
    assert (plain.ci_low, plain.ci_high) == pytest.approx((0.0768, 0.6573), abs=1e-3)
    assert (bca.n, bca.n_groups, len(bca.distribution)) == (8, 8, 9999)


@pytest.mark.parametrize("name", SUMMABLE)
def test_bootstrap_is_that_of_scipy(name):
    rng = np.random.default_rng(1)
    y = rng.normal(size=40)
    a, b = y + rng.normal(0, 0.5, 40), y + rng.normal(0.1, 0.7, 40)

    def difference(y, a, b):
        # Rounded, so that ties with the observed value are ties for scipy too, as they are for us.
        return round(METRICS[name](y, a) - METRICS[name](y, b), 10)

    expected = scipy.stats.bootstrap(
        (y, a, b),
        difference,
        paired=True,
        method="BCa",
        n_resamples=500,
        vectorized=False,
        rng=np.random.default_rng(5),
    )
    ours = paired_bootstrap(y, a, b, METRICS[name], resamples=500, rng=np.random.default_rng(5))
    np.testing.assert_allclose(ours.distribution, expected.bootstrap_distribution, atol=1e-9)
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(expected.confidence_interval), abs=1e-8)


def test_bca_interval_from_the_distribution_of_scipy():
    y = np.random.default_rng(0).gamma(1.0, size=25)
    expected = scipy.stats.bootstrap((y,), np.mean, n_resamples=999, confidence_level=0.9, rng=np.random.default_rng(0))
    jackknife = np.array([np.delete(y, i).mean() for i in range(25)])
    low, high = interval(
        np.array([y.mean()]), expected.bootstrap_distribution[:, None], jackknife[:, None], confidence=0.9
    )
    assert (low[0], high[0]) == pytest.approx(tuple(expected.confidence_interval), abs=1e-12)


def _grouped(seed=2, groups=12):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"theme {i}" for i in range(groups)], rng.integers(1, 6, groups))
    y = rng.normal(size=len(names))
    a, b = y + rng.normal(0, 0.5, len(names)), y + rng.normal(0, 0.7, len(names))
    order = rng.permutation(len(names))
    return y[order], a[order], b[order], names[order]


@pytest.mark.parametrize("name", [*SUMMABLE, "spearman"])
def test_group_bootstrap_is_a_plain_loop_over_groups(name):
    y, a, b, names = _grouped()
    distinct = np.unique(names)
    members = [np.flatnonzero(names == group) for group in distinct]
    drawn = np.random.default_rng(7).integers(0, len(distinct), (200, len(distinct)))
    expected = []
    for draw in drawn:
        rows = np.concatenate([members[g] for g in draw])
        expected.append(METRICS[name](y[rows], a[rows]) - METRICS[name](y[rows], b[rows]))
    ours = paired_bootstrap(y, a, b, METRICS[name], names, resamples=200, rng=np.random.default_rng(7))
    np.testing.assert_allclose(ours.distribution, expected, atol=1e-12)
    assert ours.n_groups == 12
    assert ours.ci_low < ours.difference < ours.ci_high


def test_group_interval_is_that_of_scipy_over_group_numbers():
    y, a, b, names = _grouped()
    distinct = np.unique(names)
    members = [np.flatnonzero(names == group) for group in distinct]

    def difference(numbers):
        rows = np.concatenate([members[int(g)] for g in numbers])
        return concordance(y[rows], a[rows]) - concordance(y[rows], b[rows])

    expected = scipy.stats.bootstrap(
        (np.arange(len(distinct)),), difference, vectorized=False, n_resamples=999, rng=np.random.default_rng(3)
    )
    ours = paired_bootstrap(y, a, b, concordance, names, resamples=999, rng=np.random.default_rng(3))
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(expected.confidence_interval), abs=1e-10)


def test_both_axes_and_averages_over_them():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 2))
    a, b = y + rng.normal(0, 0.3, (50, 2)), y + rng.normal(0, 0.5, (50, 2))
    both = paired_bootstrap(y, a, b, mae, resamples=300)
    assert both.difference.shape == both.ci_low.shape == both.ci_high.shape == (2,)
    assert both.distribution.shape == (300, 2)
    alone = paired_bootstrap(y[:, 1], a[:, 1], b[:, 1], mae, resamples=300)
    assert (both.ci_low[1], both.ci_high[1]) == pytest.approx((alone.ci_low, alone.ci_high), abs=1e-12)
    average = paired_bootstrap(y, a, b, lambda t, m: float(mae(t, m).mean()), resamples=300)
    assert average.difference == pytest.approx(both.difference.mean())
    assert isinstance(average.ci_low, float)
    assert paired_permutation(y, a, b, mae, resamples=99).p.shape == (2,)


def test_missing_rows_leave_the_comparison():
    y, a, b, names = _grouped()
    gone = np.append(y, [np.nan, 1, 1]), np.append(a, [0, np.nan, 1]), np.append(b, [0, 1, np.nan])
    padded = paired_bootstrap(*gone, mae, np.append(names, ["x", "y", "z"]), resamples=100)
    assert padded.n == len(y)
    assert padded.ci_low == paired_bootstrap(y, a, b, mae, names, resamples=100).ci_low


def test_permutation_of_eight_rows():
    # scipy.stats.permutation_test over all 256 sign_flips.
    exact = paired_permutation(TRUTH, A, B, mae)
    assert exact.exact
    assert exact.p == 0.0625
    assert exact.difference == pytest.approx(-0.14375)
    # The t-test of the same losses, the secondary test, agrees in kind.
    t = scipy.stats.ttest_rel(abs(TRUTH - B), abs(TRUTH - A))
    assert (t.statistic, t.pvalue) == pytest.approx((2.3082585544, 0.0543259943), abs=1e-9)


@pytest.mark.parametrize("name", ["mae", "ccc", "spearman"])
@pytest.mark.parametrize("swap", ["sums", "calls"])
def test_exact_permutation_is_that_of_scipy(name, swap):
    rng = np.random.default_rng(3)
    y = rng.normal(size=9)
    a, b = y + rng.normal(0, 0.3, 9), y + rng.normal(0.2, 0.6, 9)

    def difference(a, b):
        return METRICS[name](y, a) - METRICS[name](y, b)

    expected = scipy.stats.permutation_test(
        (a, b), difference, permutation_type="samples", vectorized=False, n_resamples=np.inf
    )
    ours = paired_permutation(y, a, b, METRICS[name] if swap == "sums" else by_call(name))
    null = expected.null_distribution
    assert ours.p == pytest.approx(np.mean(np.abs(null) >= abs(expected.statistic) - 1e-12), abs=1e-12)
    assert ours.difference == pytest.approx(float(expected.statistic))


def test_groups_change_places_as_one():
    # Three groups: 8 sign_flips; the observed order and its mirror are the two extremes.
    y = np.zeros(9)
    a, b = np.full(9, 0.5), np.full(9, 0.4)
    grouped = paired_permutation(y, a, b, mae, np.repeat([0, 1, 2], 3))
    assert grouped.exact
    assert (grouped.p, grouped.n_groups) == (0.25, 3)
    assert paired_permutation(y, a, b, mae).p == 2 / 512


def test_drawn_permutations_count_the_observed_order():
    y, a, b, names = _grouped(groups=40)
    drawn = paired_permutation(y, a, b, mae, names, resamples=999)
    assert not drawn.exact
    assert 1 / 1000 <= drawn.p <= 1
    worse = paired_permutation(y, a, a + 9, mae, names, resamples=999)
    assert worse.p == 1 / 1000


def test_drawn_permutations_agree_with_all():
    y, a, b, names = _grouped()
    all_ways = paired_permutation(y, a, b, mae, names, resamples=4096)
    drawn = paired_permutation(y, a, b, mae, names, resamples=4095)
    assert all_ways.exact
    assert not drawn.exact
    assert abs(all_ways.p - drawn.p) < 4 * np.sqrt(all_ways.p * (1 - all_ways.p) / 4095) + 1 / 4096


def test_any_loss_is_compared_as_an_error_of_zero():
    rng = np.random.default_rng(0)
    first, second = rng.gamma(2, size=30), rng.gamma(2, size=30)
    result = paired_bootstrap(np.zeros(30), first, second, bias, resamples=50)
    assert result.difference == pytest.approx(np.mean(first - second))


def test_equal_predictors_differ_by_nothing():
    same = paired_bootstrap(TRUTH, A, A, concordance, resamples=100)
    assert (same.difference, same.ci_low, same.ci_high) == (0, 0, 0)
    assert paired_permutation(TRUTH, A, A, concordance).p == 1


def test_one_group_has_no_interval():
    alone = paired_bootstrap(TRUTH, A, B, mae, ["only"] * 8, resamples=50)
    assert alone.difference == pytest.approx(-0.14375)
    assert np.isnan(alone.ci_low)
    assert np.isnan(alone.ci_high)
    assert paired_permutation(TRUTH, A, B, mae, ["only"] * 8).p == 1


def test_generator_decides_and_nothing_else():
    first = paired_bootstrap(TRUTH, A, B, mae, resamples=50, rng=1)
    assert first.ci_low == paired_bootstrap(TRUTH, A, B, mae, resamples=50, rng=np.random.default_rng(1)).ci_low
    assert not np.array_equal(first.distribution, paired_bootstrap(TRUTH, A, B, mae, resamples=50, rng=2).distribution)


@pytest.mark.parametrize(
    ("differences", "t", "p"),
    [
        # baycomp 1.0 and by hand; the naive test gives p .0016 and .0686.
        ([0.021, 0.034, 0.015, 0.028, 0.024], 5.0783764006, 0.0070887663),
        ([0.010, 0.042, -0.004, 0.031, 0.020], 1.6494846166, 0.1743933884),
    ],
)
def test_corrected_ttest(differences, t, p):
    assert corrected_resampled_ttest(differences, 800, 200) == pytest.approx((t, p), abs=5e-11)
    naive = scipy.stats.ttest_1samp(differences, 0).statistic
    assert naive == pytest.approx(t * np.sqrt(1 + 5 * 200 / 800), abs=1e-9)


def test_corrected_ttest_at_its_edges():
    assert np.isnan(corrected_resampled_ttest([0, 0, 0], 8, 2)).all()
    assert corrected_resampled_ttest([0.1, 0.1, 0.1], 8, 2) == (np.inf, 0)
    assert corrected_resampled_ttest([-0.1, -0.1], 8, 2) == (-np.inf, 0)
    with pytest.raises(ValueError, match="two finite"):
        corrected_resampled_ttest([0.1], 8, 2)
    with pytest.raises(ValueError, match="two finite"):
        corrected_resampled_ttest([0.1, np.nan], 8, 2)
    with pytest.raises(ValueError, match="n_test"):
        corrected_resampled_ttest([0.1, 0.2], 8, 0)


def test_holm():
    p = [0.001, 0.012, 0.020, 0.034, 0.21]
    np.testing.assert_allclose(holm(p), [0.005, 0.048, 0.060, 0.068, 0.210], atol=1e-12)
    shuffled = np.random.default_rng(0).uniform(0, 0.2, 20)
    np.testing.assert_allclose(holm(shuffled), multipletests(shuffled, method="holm")[1])


def test_holm_passes_over_what_is_not_a_number():
    adjusted = holm([[0.001, np.nan, 0.012], [0.020, 0.034, 0.21]])
    np.testing.assert_allclose(adjusted, [[0.005, np.nan, 0.048], [0.060, 0.068, 0.210]], atol=1e-12)
    assert np.isnan(holm([np.nan, np.nan])).all()
    assert holm([]).shape == (0,)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="method"):
        paired_bootstrap(TRUTH, A, B, mae, method="basic")
    with pytest.raises(ValueError, match="confidence"):
        paired_bootstrap(TRUTH, A, B, mae, confidence=95)
    with pytest.raises(ValueError, match="groups"):
        paired_bootstrap(TRUTH, A, B, mae, ["a", "b"])
    with pytest.raises(ValueError, match="one shape"):
        paired_permutation(TRUTH, A, B[:3], mae)
    with pytest.raises(ValueError, match="no row"):
        paired_permutation(TRUTH, np.full(8, np.nan), B, mae)
