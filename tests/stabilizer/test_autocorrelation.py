"""The variance of what a filter gives out: it covers the truth whatever lasts of the errors, at every frame rate."""

from __future__ import annotations

import numpy as np
import pytest

from emofuse.config import StabilizerConfig
from emofuse.errors import ConfigError, DataError
from emofuse.stabilizer import (
    Autocorrelation,
    Sequences,
    filter_update,
    fit_autocorrelation,
    fit_level_variance,
    make_stabilizer,
    run,
    smooth,
)

RATE = 30
STEP, NOISE = 0.001, 0.04
"""Variance of the truth's step per frame, and of a frame's error."""
Z90 = 1.6448536269514722
"""Standard normal quantile of .95 (scipy.stats.norm.ppf)."""

FILTERS = {"ema": {}, "soft_ema": {"uncertainty_threshold": 0.02}, "kalman": {}}
"""Options of each filter."""


def filtered(x, v, errors, name="kalman", times=None, **options):
    """Means and variances (S, T, 2) of sequences (S, T, 2) under one filter."""
    config = StabilizerConfig(filter=name, **{"process_variance": STEP * RATE, **options})
    update = filter_update(name, lambda each: getattr(config, each))
    frames = list(run(update, Sequences.of(x, v, times), 1, autocorrelation=errors))
    return tuple(np.stack([getattr(frame, part)[0] for frame in frames], axis=1) for part in ("mean", "variance"))


def lasting(phi, share, sequences, frames, seed):
    """A random walk seen through errors of which a share is AR(1) with `phi` per frame, the rest white."""
    rng = np.random.default_rng(seed)
    shape = (sequences, frames, 2)
    truth = np.cumsum(rng.normal(0, np.sqrt(STEP), shape), axis=1)
    u = rng.normal(size=shape)
    for t in range(1, frames):
        u[:, t] = phi * u[:, t - 1] + np.sqrt(1 - phi**2) * u[:, t]
    error = np.sqrt(NOISE * share) * u + np.sqrt(NOISE * (1 - share)) * rng.normal(size=shape)
    return truth, truth + error, np.full(shape, NOISE)


def coverage(smoothed, truth):
    """Share of frames within the 90 % interval, and its standard error over sequences."""
    mean, variance = smoothed
    inside = (np.abs(mean - truth) <= Z90 * np.sqrt(variance)).mean(axis=(1, 2))
    return inside.mean(), inside.std(ddof=1) / np.sqrt(len(inside))


@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("phi", [0.0, 0.9, 0.97, 0.99])
class TestCoverage:
    @pytest.mark.parametrize("name", FILTERS)
    def test_intervals_hold_nine_tenths_where_the_autocorrelation_is_known(self, name, phi, share):
        truth, x, v = lasting(phi, share, 300, 200, seed=1)
        covered, error = coverage(filtered(x, v, Autocorrelation(phi**RATE, share), name, **FILTERS[name]), truth)
        assert covered == pytest.approx(0.9, abs=4 * error)
        assert error < 0.01

    @pytest.mark.parametrize("name", FILTERS)
    def test_and_where_it_is_found_on_eight_labelled_clips(self, name, phi, share):
        truth, x, v = lasting(phi, share, 8, 300, seed=2)
        rows = np.split(np.arange(8 * 300), 8)
        found = fit_autocorrelation((x - truth).reshape(-1, 2), v.reshape(-1, 2), np.full(2400, np.nan), rows)
        truth, x, v = lasting(phi, share, 300, 200, seed=3)
        covered, _ = coverage(filtered(x, v, found, name, **FILTERS[name]), truth)
        assert 0.85 <= covered <= 0.95

    @pytest.mark.parametrize("name", FILTERS)
    def test_unknown_it_never_announces_too_little(self, name, phi, share):
        truth, x, v = lasting(phi, share, 300, 200, seed=4)
        covered, error = coverage(filtered(x, v, None, name, **FILTERS[name]), truth)
        assert covered >= 0.9 - 4 * error


@pytest.mark.parametrize("name", ["ema", "soft_ema", "kalman", "one_euro"])
def test_without_labels_the_variance_is_the_raw_one(name):
    x, v = np.random.default_rng(0).normal(0, 0.2, (40, 2)), np.full((40, 2), 0.05)
    smoothed, _ = smooth(x, v, None, StabilizerConfig(filter=name, process_variance=0.1))
    np.testing.assert_allclose(smoothed.variance, 0.05, atol=1e-15)


def test_unlike_raw_variances_are_averaged_as_standard_deviations():
    """Errors that last for ever: alpha of the new deviation, the rest of the old; .5 * .2 + .5 * .4."""
    stabilizer = make_stabilizer(StabilizerConfig(alpha=0.5))
    stabilizer.update([0.0, 0.0], [0.04, 0.04])
    np.testing.assert_allclose(stabilizer.update([0.0, 0.0], [0.16, 0.16]).variance, 0.3**2)


@pytest.mark.parametrize("name", ["ema", "soft_ema", "kalman", "one_euro"])
def test_the_autocorrelation_changes_no_mean(name):
    x, v = np.random.default_rng(0).normal(0, 0.2, (40, 2)), np.full((40, 2), 0.05)
    means = [
        smooth(x, v, None, StabilizerConfig(filter=name, autocorrelation=each))[0].mean for each in (None, 0.0, 0.9)
    ]
    np.testing.assert_array_equal(means[0], means[1])
    np.testing.assert_array_equal(means[0], means[2])


def test_the_variance_of_an_average_of_ar1_errors():
    """In closed form: an EMA of AR(1) noise has alpha / (2 - alpha) (1 + phi (1 - alpha)) / (1 - phi (1 - alpha)) v."""
    alpha, phi = 0.3, 0.9
    x = np.zeros((1, 400, 2))
    errors = Autocorrelation(phi**RATE)
    _, variance = filtered(x, np.full(x.shape, 0.05), errors, "ema", alpha=alpha, process_variance=0.0)
    expected = 0.05 * alpha / (2 - alpha) * (1 + phi * (1 - alpha)) / (1 - phi * (1 - alpha))
    np.testing.assert_allclose(variance[0, -1], expected, rtol=1e-12)


class TestFit:
    @pytest.mark.parametrize("rate", [30, 6])
    def test_it_finds_what_made_the_errors_at_any_frame_rate(self, rate):
        """AR(1) of .9 and .97 per thirtieth second, four fifths of the variance."""
        rows = np.split(np.arange(60 * 200), 60)
        residual = np.empty((60 * 200, 2))
        for axis, phi in enumerate((0.9, 0.97)):
            truth, x, _ = lasting(phi ** (30 / rate), 0.8, 60, 200, seed=5)
            residual[:, axis] = (x - truth).reshape(-1, 2)[:, axis]
        time = np.tile(np.arange(200) / rate, 60)
        found = fit_autocorrelation(residual, np.full(residual.shape, NOISE), time, rows)
        # Correlation times in seconds, -1 / (30 log phi); 12,000 frames fix them to some 10 %.
        np.testing.assert_allclose(-1 / np.log(found.per_second), [0.316, 1.094], rtol=0.25)
        np.testing.assert_allclose(found.share, 0.8, atol=0.08)

    def test_uneven_steps_fall_where_they_belong(self):
        """A continuous AR(1) of one second, seen at steps of 20 to 500 ms."""
        rng = np.random.default_rng(6)
        steps = rng.uniform(0.02, 0.5, (60, 200))
        u = rng.normal(size=(60, 200, 2))
        for t in range(1, 200):
            phi = np.exp(-steps[:, t, None])
            u[:, t] = phi * u[:, t - 1] + np.sqrt(1 - phi**2) * u[:, t]
        rows = np.split(np.arange(60 * 200), 60)
        time = np.cumsum(steps, axis=1).ravel()
        found = fit_autocorrelation(u.reshape(-1, 2) * 0.2, np.full((60 * 200, 2), 0.04), time, rows)
        np.testing.assert_allclose(-1 / np.log(found.per_second), 1, rtol=0.25)
        np.testing.assert_allclose(found.share, 1, atol=0.05)

    def test_a_bias_of_each_clip_lasts(self):
        rng = np.random.default_rng(7)
        residual = np.repeat(rng.normal(0, 0.2, (40, 1, 2)), 50, axis=1).reshape(-1, 2)
        residual += rng.normal(0, 0.1, residual.shape)
        rows = np.split(np.arange(2000), 40)
        found = fit_autocorrelation(residual, np.full(residual.shape, 0.05), np.full(2000, np.nan), rows)
        np.testing.assert_allclose(found.share, 0.8, atol=0.08)
        assert (np.asarray(found.per_second) > 0.9).all()

    def test_a_few_frames_do_not_make_errors_independent(self):
        """Four white frames: each distance has 20 pairs of equal errors beside its own, so the share stays high."""
        residual = np.array([[0.2, 0.2], [-0.2, -0.2], [0.2, 0.2], [-0.2, -0.2]])
        found = fit_autocorrelation(residual, np.full((4, 2), 0.04), np.full(4, np.nan), [np.arange(4)])
        assert (np.asarray(found.share) > 0.7).all()

    def test_without_labelled_neighbours_nothing_is_known(self):
        residual = np.array([[0.2, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
        assert fit_autocorrelation(residual, np.full((3, 2), 0.04), np.full(3, np.nan), [np.arange(3)]) is None

    def test_an_axis_without_labels_lasts_for_ever(self):
        residual = np.random.default_rng(8).normal(0, 0.2, (400, 2))
        residual[:, 1] = np.nan
        found = fit_autocorrelation(residual, np.full((400, 2), 0.04), np.full(400, np.nan), [np.arange(400)])
        assert (found.per_second[1], found.share[1]) == (1.0, 1.0)
        assert found.share[0] < 0.3

    def test_shapes_are_checked(self):
        with pytest.raises(DataError, match=r"\(N, 2\)"):
            fit_autocorrelation(np.zeros((3, 2)), np.zeros((2, 2)), np.zeros(3), [])


class TestLevel:
    def test_a_random_walk_moves_by_its_variance_at_any_frame_rate(self):
        truth, _, _ = lasting(0.0, 0.0, 40, 300, seed=10)
        rows = np.split(np.arange(40 * 300), 40)
        for every in (1, 5):
            thin = [mine[::every] for mine in rows]
            found = fit_level_variance(truth.reshape(-1, 2), np.tile(np.arange(300) / RATE, 40), thin)
            # At 64 frames apart some 190 steps do not overlap: 10 %; the greatest of seven such lies above the mean.
            np.testing.assert_allclose(found, STEP * RATE, rtol=0.3)
            assert (found > STEP * RATE * 0.95).all()

    def test_a_smooth_label_counts_at_the_distance_where_it_has_moved_most(self):
        """A ramp of .5 per second moves (.5 d)² in d seconds: .25 d per second, at most at 64 frames, 2.13 s."""
        truth = np.repeat(np.arange(200)[:, None] / RATE * 0.5, 2, axis=1)
        found = fit_level_variance(truth, np.full(200, np.nan), [np.arange(200)])
        np.testing.assert_allclose(found, 0.25 * 64 / 30, rtol=1e-9)

    def test_it_takes_the_place_of_a_process_variance_chosen_for_its_gain(self):
        """A tenth of the likeliest smooths more; announced is the truth's movement all the same."""
        truth, x, v = lasting(0.9, 0.8, 300, 200, seed=11)
        errors = Autocorrelation(0.9**RATE, 0.8)
        true = Autocorrelation(0.9**RATE, 0.8, STEP * RATE)
        ways = [filtered(x, v, each, process_variance=0.1 * STEP * RATE) for each in (errors, true)]
        (without, _), (within, error) = (coverage(each, truth) for each in ways)
        assert within == pytest.approx(0.9, abs=4 * error)
        assert without < 0.85

    def test_too_few_labels_tell_nothing(self):
        assert fit_level_variance(np.zeros((5, 2)), np.full(5, np.nan), [np.arange(5)]) is None


class TestFrameRate:
    def test_every_fifth_frame_is_filtered_as_well_as_can_be(self):
        """Smooth state of the local level model: K = (q + r) / (q + r + 2), r = sqrt(q² + 4 q), MSE = K v."""
        step, noise, count, frames = 0.0007, 0.05, 100, 1500
        rng = np.random.default_rng(9)
        truth = np.cumsum(rng.normal(0, np.sqrt(step), (count, frames, 2)), axis=1)
        x = truth + rng.normal(0, np.sqrt(noise), truth.shape)
        time = np.tile(np.arange(frames) / RATE, (count, 1))
        for every in (1, 5):
            thin, v = x[:, ::every], np.full(x[:, ::every].shape, noise)
            mean, _ = filtered(thin, v, None, times=time[:, ::every], process_variance=step * RATE)
            square = ((mean - truth[:, ::every]) ** 2)[:, 60:].mean(axis=1)
            q = every * step / noise
            root = np.sqrt(q**2 + 4 * q)
            best = noise * (q + root) / (q + root + 2)
            error = square.mean(axis=1).std(ddof=1) / np.sqrt(count)
            assert square.mean() == pytest.approx(best, abs=4 * error)

    def test_the_gain_depends_on_the_time_between_frames(self):
        """One second in one step or in thirty, the sample missing in between: the same gain and variance."""
        ends = []
        for steps in (1, 30):
            kalman = make_stabilizer(StabilizerConfig(filter="kalman", process_variance=0.3, autocorrelation=0.0))
            kalman.update([0.0, 0.0], [0.1, 0.1], 0.0)
            for k in range(1, steps):
                kalman.update([np.nan, np.nan], [np.nan, np.nan], k / steps)
            ends.append(kalman.update([1.0, 1.0], [0.1, 0.1], 1.0))
        np.testing.assert_allclose(ends[0].mean, 0.4 / 0.5, atol=1e-12)
        np.testing.assert_allclose(ends[1].mean, ends[0].mean, atol=1e-12)
        np.testing.assert_allclose(ends[1].variance, ends[0].variance, atol=1e-12)

    def test_the_default_is_a_hundredth_a_frame_at_thirty_frames(self):
        gated = make_stabilizer(StabilizerConfig(autocorrelation=0.0))
        gated.update([0.0, 0.0], [0.05, 0.05])
        held = gated.update([np.nan, np.nan], [np.nan, np.nan])
        np.testing.assert_allclose(held.variance, 0.05 + 0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"autocorrelation": 1.1},
        {"autocorrelation": 0.5, "autocorrelated_share": -0.1},
        {"autocorrelation": 0.5, "level_variance": -0.1},
    ],
)
def test_what_is_no_correlation_and_no_variance_is_refused(options):
    with pytest.raises(ConfigError, match=r"stabilizer\.\w+ must be"):
        make_stabilizer(StabilizerConfig(**options))
