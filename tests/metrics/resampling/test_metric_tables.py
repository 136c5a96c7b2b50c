"""Tables of metrics with group-bootstrap intervals, against the plain functions and loops."""

import time

import numpy as np
import pytest
import scipy.stats

from emofuse.affect import AXES
from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.resampling.intervals import bootstrap_counts, interval
from emofuse.metrics.resampling.metric_tables import COMPARED, difference_table, metric_table
from emofuse.metrics.resampling.sums import MAX_UNITS, resampling_units
from emofuse.metrics.significance import paired_bootstrap, paired_permutation


def _data(n=90, groups=15, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.uniform(-1, 1, (n, 2))
    scene = np.clip(y + rng.normal(0, 0.4, (n, 2)), -1, 1)
    face = np.clip(y + rng.normal(0, 0.5, (n, 2)), -1, 1)
    face[rng.random(n) < 0.4] = np.nan
    systems = {"scene": scene, "face": face, "constant_mean": np.full((n, 2), 0.1)}
    return y, systems, rng.integers(0, groups, n).astype(str)


def _by_key(rows, *names):
    return {tuple(getattr(row, name) for name in names): row for row in rows}


def test_values_are_those_of_the_functions():
    y, systems, groups = _data()
    rows = _by_key(metric_table(y, systems, groups, resamples=0), "system", "axis", "metric")
    assert len(rows) == 3 * 2 * len(METRICS)
    for (system, axis, metric), row in rows.items():
        i = AXES.index(axis)
        assert row.value == pytest.approx(METRICS[metric](y, systems[system])[i], abs=1e-15, nan_ok=True)
        assert row.n == np.isfinite(systems[system][:, i]).sum()
        assert row.n_groups == len(np.unique(groups[np.isfinite(systems[system][:, i])]))
        assert np.isnan(row.ci_low)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_intervals_are_those_of_a_plain_loop(method):
    y, systems, groups = _data()
    resamples = 120
    rows = _by_key(
        metric_table(y, systems, groups, resamples=resamples, method=method, rng=4), "system", "axis", "metric"
    )
    seed = int(np.random.default_rng(4).integers(2**63))
    for (system, axis, name), row in rows.items():
        i = AXES.index(axis)
        keep = np.isfinite(systems[system][:, i])
        truth, mean = y[keep, i], systems[system][keep, i]
        distinct, number = np.unique(groups[keep], return_inverse=True)
        members = [np.flatnonzero(number == g) for g in range(len(distinct))]
        drawn = np.random.default_rng(seed).integers(0, len(distinct), (resamples, len(distinct)))
        values = np.array(
            [METRICS[name](truth[(r := np.concatenate([members[g] for g in d]))], mean[r]) for d in drawn]
        )
        without = np.array([METRICS[name](truth[number != g], mean[number != g]) for g in range(len(distinct))])
        plain = method == "percentile" or name == "spearman"
        low, high = interval(np.array([row.value]), values[:, None], None if plain else without[:, None])
        assert (row.ci_low, row.ci_high) == pytest.approx((low[0], high[0]), abs=1e-9, nan_ok=True)


def test_rows_without_groups_are_resampled_as_scipy_does():
    y, systems, _ = _data(n=40)
    (row, *_) = metric_table(y, {"scene": systems["scene"]}, metrics=["ccc"], resamples=4000)
    expected = scipy.stats.bootstrap(
        (y[:, 0], systems["scene"][:, 0]),
        METRICS["ccc"],
        paired=True,
        vectorized=False,
        n_resamples=4000,
        rng=np.random.default_rng(1),
    )
    # Two draws of 4000 resamples: a quantile at 2.5 % has a standard error of about 1/20 of the interval's width.
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert row.ci_low == pytest.approx(expected.confidence_interval.low, abs=0.1 * width)
    assert row.ci_high == pytest.approx(expected.confidence_interval.high, abs=0.1 * width)


def test_a_constant_is_never_anything_else():
    y, systems, groups = _data()
    rows = _by_key(metric_table(y, systems, groups, resamples=200), "system", "axis", "metric")
    flat = rows["constant_mean", "valence", "ccc"]
    assert (flat.value, flat.ci_low, flat.ci_high) == (0, 0, 0)
    for metric in ("pearson", "spearman"):
        assert np.isnan(
            [getattr(rows["constant_mean", "valence", metric], x) for x in ("value", "ci_low", "ci_high")]
        ).all()


def test_a_system_does_not_depend_on_the_others():
    y, systems, groups = _data()
    alone = metric_table(y, {"face": systems["face"]}, groups, resamples=100, rng=3)
    among = [row for row in metric_table(y, systems, groups, resamples=100, rng=3) if row.system == "face"]
    for one, other in zip(alone, among, strict=True):
        assert one.value == other.value
        assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high), abs=1e-12)


def test_order_of_rows_does_not_matter():
    y, systems, groups = _data()
    order = np.random.default_rng(0).permutation(len(y))
    first = metric_table(y, systems, groups, resamples=100)
    second = metric_table(y[order], {k: v[order] for k, v in systems.items()}, groups[order], resamples=100)
    for one, other in zip(first, second, strict=True):
        ends = (one.value, one.ci_low, one.ci_high)
        assert ends == pytest.approx((other.value, other.ci_low, other.ci_high), abs=1e-9, nan_ok=True)


def test_differences_are_those_of_the_paired_functions():
    y, systems, groups = _data()
    rows = difference_table(y, systems, [("scene", "face"), ("scene", "constant_mean")], groups, resamples=400, rng=2)
    seed = int(np.random.default_rng(2).integers(2**63))
    assert len(rows) == 2 * 2 * len(COMPARED)
    for row in rows:
        i = AXES.index(row.axis)
        arguments = (y[:, i], systems[row.a][:, i], systems[row.b][:, i], METRICS[row.metric], groups)
        both = paired_bootstrap(*arguments, resamples=400, rng=seed)
        swapped = paired_permutation(*arguments, resamples=400, rng=seed)
        assert (row.n, row.n_groups) == (both.n, both.n_groups)
        assert row.difference == pytest.approx(both.difference, abs=1e-12, nan_ok=True)
        assert (row.ci_low, row.ci_high) == pytest.approx((both.ci_low, both.ci_high), abs=1e-9, nan_ok=True)
        assert row.p == pytest.approx(swapped.p, abs=1e-12, nan_ok=True)


def test_a_pair_is_evaluated_on_its_common_rows():
    y, systems, groups = _data()
    common = np.isfinite(systems["face"]).all(axis=1)
    (row,) = [
        r for r in difference_table(y, systems, [("scene", "face")], groups, metrics=["mae"]) if r.axis == "arousal"
    ]
    expected = METRICS["mae"](y[common], systems["scene"][common]) - METRICS["mae"](y[common], systems["face"][common])
    assert row.n == common.sum() < len(y)
    assert row.difference == pytest.approx(expected[1])


def test_too_little_has_no_interval():
    y, systems, _ = _data(n=5)
    alone = metric_table(y, {"scene": systems["scene"], "none": np.full((5, 2), np.nan)}, ["one"] * 5, resamples=20)
    assert all(np.isnan(row.ci_low) and np.isnan(row.ci_high) for row in alone)
    assert {(row.system, row.n, row.n_groups) for row in alone} == {("scene", 5, 1), ("none", 0, 0)}
    assert all(np.isnan(row.value) for row in alone if row.system == "none")
    differences = difference_table(y, systems, [("scene", "constant_mean")], ["one"] * 5)
    assert all(np.isnan(row.p) for row in differences)


def test_counts_are_drawn_in_bounded_chunks():
    chunks = list(bootstrap_counts(100_000, 50, np.random.default_rng(0)))
    assert max(chunk.size for chunk in chunks) <= 2_000_000
    assert sum(len(chunk) for chunk in chunks) == 50
    assert all((chunk.sum(axis=1) == 100_000).all() for chunk in chunks)
    together = np.random.default_rng(0).integers(0, 100_000, (50, 100_000))
    np.testing.assert_array_equal(np.concatenate(chunks)[49], np.bincount(together[49], minlength=100_000))


def test_very_many_groups_are_bundled_without_a_change_of_width():
    y = np.random.default_rng(0).uniform(-1, 1, (30_000, 2))
    noise = np.random.default_rng(1).normal(0, 0.3, y.shape)
    (row, _) = metric_table(y, {"scene": y + noise}, metrics=["bias"], resamples=400)
    assert row.n_groups == 30_000
    # A mean of independent rows: its interval is 2 x 1.96 standard errors wide; of 400 resamples, within a sixth.
    expected = 2 * 1.96 * noise[:, 0].std() / np.sqrt(30_000)
    assert row.ci_high - row.ci_low == pytest.approx(expected, rel=0.15)
    unit, units = resampling_units(np.arange(30_000), 30_000)
    assert units == MAX_UNITS == len(np.unique(unit))
    np.testing.assert_array_equal(unit, resampling_units(np.arange(30_000), 30_000)[0])


def test_ten_thousand_rows_and_six_systems_take_seconds():
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, (10_000, 2))
    systems = {name: y + rng.normal(0, 0.3, y.shape) for name in "abcdef"}
    start = time.perf_counter()
    rows = metric_table(y, systems, rng.integers(0, 300, 10_000), resamples=2000, spearman_resamples=100)
    # Measured 0.5 s on one core; the bound is for a busy machine.
    assert time.perf_counter() - start < 10
    assert len(rows) == 6 * 2 * 7


def test_cluster_intervals_hold_where_row_intervals_do_not():
    # Intra-group correlation .5, five rows a group: 95 % intervals of a mean cover about 95 % by group, 75 % by row.
    rng = np.random.default_rng(0)
    covered = {"group": 0, "row": 0}
    names = np.repeat(np.arange(40), 5)
    repeats = 200
    for _ in range(repeats):
        m = np.sqrt(0.5) * (rng.normal(size=40)[names] + rng.normal(size=200))
        mean = np.column_stack([m, m])
        for unit, groups in (("group", names), ("row", None)):
            row = metric_table(np.zeros((200, 2)), {"x": mean}, groups, metrics=["bias"], resamples=300, rng=rng)[0]
            covered[unit] += row.ci_low <= 0 <= row.ci_high
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert covered["group"] / repeats > 0.93 - 3 * error
    assert covered["row"] / repeats < 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["mse"]}, "unknown mse; known: mae"),
        ({"method": "basic"}, "BCa, percentile; got 'basic'"),
        ({"confidence": 95}, "confidence"),
        ({"groups": ["a"]}, "groups"),
    ],
)
def test_wrong_arguments(change, message):
    y, systems, _ = _data(n=6)
    with pytest.raises(ValueError, match=message):
        metric_table(y, systems, **change)


def test_wrong_systems_and_shapes():
    y, systems, _ = _data(n=6)
    with pytest.raises(ValueError, match="unknown fused"):
        difference_table(y, systems, [("fused", "scene")])
    with pytest.raises(ValueError, match="unknown spearman"):
        difference_table(y, systems, [("scene", "face")], metrics=["spearman"])
    with pytest.raises(ValueError, match="both axes"):
        metric_table(y[:, 0], {"scene": systems["scene"][:, 0]})
