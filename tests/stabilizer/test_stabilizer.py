"""The filters one frame at a time: golden numbers, the gate, time."""

from __future__ import annotations

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from OneEuroFilter import OneEuroFilter

from emofuse.config import StabilizerConfig
from emofuse.errors import ConfigError
from emofuse.stabilizer import Sequences, Window, make_stabilizer, run
from emofuse.stabilizer.sweeps import per_configuration
from emofuse.stabilizer.updates import EmaUpdate

X = np.array([0.2, 0.3, 0.9, 0.25, 0.2])
V = np.array([0.05, 0.05, 0.6, 0.05, 0.05])
RATE = 30
"""Frames a second by default: a process variance of Q a frame is 30 Q a second."""


def ema(alpha=0.7, threshold=0.4, **options):
    return make_stabilizer(StabilizerConfig(alpha=alpha, uncertainty_threshold=threshold, **options))


def kalman(process_variance, **options):
    return make_stabilizer(StabilizerConfig(filter="kalman", process_variance=process_variance, **options))


def one_euro(min_cutoff=1.0, beta=0.5, **options):
    return make_stabilizer(StabilizerConfig(filter="one_euro", min_cutoff=min_cutoff, beta=beta, **options))


def follow(stabilizer, x, v, times=None):
    """Both axes get the same series; the outputs and holds of the first."""
    outputs, holds = [], []
    for i, (sample, variance) in enumerate(zip(x, v, strict=True)):
        timestamp = None if times is None else times[i]
        outputs.append(stabilizer.update([sample, sample], [variance, variance], timestamp))
        holds.append(stabilizer.held.copy())
        np.testing.assert_array_equal(outputs[-1].mean[0], outputs[-1].mean[1])
    return np.array([o.mean[0] for o in outputs]), np.array([o.variance[0] for o in outputs]), np.array(holds)[:, 0]


class TestGatedEma:
    def test_a_held_sample_leaves_the_state_untouched(self):
        """Worked by hand: .7 of the new sample, the third held."""
        mean, _, held = follow(ema(), X, V)
        np.testing.assert_allclose(mean, [0.2, 0.27, 0.27, 0.256, 0.2168], atol=1e-12)
        np.testing.assert_array_equal(held, [False, False, True, False, False])

    def test_a_leaking_gate_gives_other_numbers(self):
        """What updating behind the gate and hiding only the output would give; it must not match."""
        leaking = [0.2, 0.27, 0.27, 0.3883, 0.25649]
        mean, _, _ = follow(ema(), X, V)
        assert np.abs(mean - leaking).max() > 0.1

    def test_the_axes_are_gated_apart(self):
        gated = ema()
        gated.update([0.0, 0.0], [0.1, 0.1])
        out = gated.update([1.0, 1.0], [0.5, 0.1])
        np.testing.assert_allclose(out.mean, [0.0, 0.7])
        np.testing.assert_array_equal(gated.held, [True, False])

    def test_the_first_sample_must_pass(self):
        gated = ema()
        first = gated.update([0.9, 0.9], [0.5, 0.41])
        assert not first.valid.any()
        assert np.isnan(first.mean).all()
        np.testing.assert_allclose(gated.update([0.1, 0.1], [0.4, 0.05]).mean, [0.1, 0.1])

    @pytest.mark.parametrize("variance", [np.nan, -0.1])
    def test_an_unknown_variance_is_held_not_trusted(self, variance):
        gated = ema()
        gated.update([0.0, 0.0], [0.1, 0.1])
        np.testing.assert_array_equal(gated.update([1.0, 1.0], [variance, variance]).mean, [0.0, 0.0])

    def test_an_open_gate_lets_unknown_variances_in(self):
        gated = ema(0.5, np.inf)
        gated.update([0.0, 0.0], [np.nan, np.nan])
        out = gated.update([1.0, 1.0], [np.nan, np.nan])
        np.testing.assert_allclose(out.mean, 0.5)
        assert np.isnan(out.variance).all()

    def test_a_missing_frame_is_held(self):
        gated = ema()
        gated.update([0.2, -0.2], [0.1, 0.1])
        out = gated.update([np.nan, np.nan], [np.nan, np.nan])
        np.testing.assert_array_equal(out.mean, [0.2, -0.2])
        assert out.valid.all()
        assert gated.held.all()

    def test_variance_follows_independent_noise_and_grows_while_held(self):
        """P = alpha^2 v + (1 - alpha)^2 (P + Q dt); while held P + Q dt."""
        gated = ema(process_variance=0.02 * RATE, autocorrelation=0.0)
        _, variance, _ = follow(gated, X, V)
        first = 0.05
        second = 0.49 * 0.05 + 0.09 * (first + 0.02)
        third = second + 0.02
        fourth = 0.49 * 0.05 + 0.09 * (third + 0.02)
        np.testing.assert_allclose(variance[:4], [first, second, third, fourth], atol=1e-15)

    def test_the_soft_gate_weighs_by_variance(self):
        """alpha threshold / (threshold + v): .7 * .4 / .45 and .7 * .4 / 1."""
        mean, _, held = follow(ema(filter="soft_ema"), X[:3], V[:3])
        second = 0.2 + 0.7 * 0.4 / 0.45 * 0.1
        np.testing.assert_allclose(mean, [0.2, second, second + 0.28 * (0.9 - second)], atol=1e-12)
        assert not held.any()

    def test_jitter_on_white_noise(self):
        """1 - alpha / sqrt(2 - alpha) in expectation; alpha = .7 cuts 38.6 %, no more."""
        reductions = {0.1: 92.7, 0.2: 85.1, 0.3: 77.0, 0.4913: 60, 0.5931: 50, 0.6874: 40, 0.7: 38.6, 0.8: 27.0}
        noise = np.random.default_rng(1).normal(size=(200, 500, 2))
        sequences = Sequences.of(noise, np.full(noise.shape, 0.1))
        update = EmaUpdate(per_configuration(list(reductions)), 0.4)
        means = np.stack([frame.mean for frame in run(update, sequences, len(reductions), variances=False)], axis=2)
        ratios = np.abs(np.diff(means, axis=2)).mean(axis=(1, 2, 3)) / np.abs(np.diff(noise, axis=1)).mean()
        alpha = np.array(list(reductions))
        np.testing.assert_allclose(100 * (1 - alpha / np.sqrt(2 - alpha)), list(reductions.values()), atol=0.06)
        # Each mean of 199,600 correlated steps has a relative error below .4 % (two deviations).
        np.testing.assert_allclose(100 * (1 - ratios), list(reductions.values()), atol=0.6)

    @pytest.mark.parametrize(
        ("alpha", "frames"), [(0.1, 22), (0.2, 11), (0.3, 7), (0.4913, 4), (0.5931, 3), (0.7, 2), (0.8, 2)]
    )
    def test_frames_to_90_percent_of_a_step(self, alpha, frames):
        """ceil(ln .1 / ln(1 - alpha))."""
        mean, _, _ = follow(ema(alpha), np.r_[0.0, np.ones(40)], np.full(41, 0.01))
        assert np.argmax(mean >= 0.9) == frames

    def test_a_time_constant_means_the_same_at_any_frame_rate(self):
        """A step reaches 1 - exp(-t / tau), here at t = 1 s, whether seen at 10, 25 or 60 frames a second."""
        for rate in (10, 25, 60):
            gated = ema(time_constant=0.5)
            gated.update([0, 0], [0.1, 0.1], 0.0)
            for frame in range(1, rate + 1):
                out = gated.update([1, 1], [0.1, 0.1], frame / rate)
            np.testing.assert_allclose(out.mean, 1 - np.exp(-2), atol=1e-12)

    def test_a_time_constant_counts_the_time_of_held_frames(self):
        gated = ema(time_constant=0.5)
        gated.update([0, 0], [0.1, 0.1], 0.0)
        gated.update([5, 5], [0.9, 0.9], 0.25)
        np.testing.assert_allclose(gated.update([1, 1], [0.1, 0.1], 0.5).mean, 1 - np.exp(-1))


class TestKalman:
    GOLDEN_X, GOLDEN_V = [0.3, 0.9, 0.25, 0.2], [0.05, 0.6, 0.05, 0.05]

    def test_golden_series(self):
        """filterpy.kalman.KalmanFilter, s0 = .2, P0 = .05, Q = .02 a frame; the first sample gives s0 and P0."""
        stabilizer = kalman(0.02 * RATE, autocorrelation=0.0)
        mean, variance, held = follow(stabilizer, [0.2, *self.GOLDEN_X], [0.05, *self.GOLDEN_V])
        expected = [0.2583333333, 0.3069319641, 0.2746580674, 0.2379575084]
        np.testing.assert_allclose(mean[1:], expected, atol=1e-10)
        np.testing.assert_allclose(variance[1:], [0.0291666667, 0.0454428755, 0.0283442678, 0.0245790979], atol=1e-10)
        assert not held.any()

    def test_against_filterpy_with_missing_frames(self):
        rng = np.random.default_rng(3)
        x, v = rng.normal(size=60), rng.uniform(0.01, 0.8, 60)
        x[[7, 8, 30]] = np.nan
        oracle = KalmanFilter(dim_x=1, dim_z=1)
        oracle.x, oracle.P, oracle.Q = np.array([[x[0]]]), np.array([[v[0]]]), np.array([[0.03]])
        oracle.F, oracle.H = np.eye(1), np.eye(1)
        expected = [(x[0], v[0])]
        for sample, variance in zip(x[1:], v[1:], strict=True):
            oracle.predict()
            oracle.update(None if np.isnan(sample) else sample, R=variance)
            expected.append((oracle.x.item(), oracle.P.item()))
        mean, variance, held = follow(kalman(0.03 * RATE, autocorrelation=0.0), x, v)
        np.testing.assert_allclose(np.column_stack([mean, variance]), expected, atol=1e-12)
        np.testing.assert_array_equal(np.flatnonzero(held), [7, 8, 30])

    @pytest.mark.parametrize(("ratio", "gain"), [(1.0, 0.6180339887), (1.6333333333, 0.7), (0.5, 0.5)])
    def test_steady_state_gain(self, ratio, gain):
        """(q + r) / (q + r + 2), r = sqrt(q^2 + 4 q), q = Q / R; an EMA of alpha has q = alpha^2 / (1 - alpha)."""
        stabilizer = kalman(ratio * 0.1 * RATE, autocorrelation=0.0)
        for _ in range(60):
            out = stabilizer.update([0.0, 0.0], [0.1, 0.1])
        step = stabilizer.update([1.0, 1.0], [0.1, 0.1])
        np.testing.assert_allclose(step.mean, gain, atol=1e-9)
        np.testing.assert_allclose(out.variance, gain * 0.1, atol=1e-9)

    def test_the_first_sample_is_the_level(self):
        out = kalman(0.02).update([0.4, -0.4], [0.3, 0.2])
        np.testing.assert_array_equal(out.mean, [0.4, -0.4])
        np.testing.assert_array_equal(out.variance, [0.3, 0.2])


class TestOneEuro:
    def test_golden_at_30_hz(self):
        """The package OneEuroFilter: freq 30, mincutoff 1, beta .5."""
        mean, _, _ = follow(one_euro(), X, V)
        np.testing.assert_allclose(mean, [0.2, 0.2208762291, 0.4817911423, 0.4125447013, 0.3669794789], atol=1e-10)

    @pytest.mark.parametrize(("min_cutoff", "beta"), [(0.3, 0.0), (1.0, 0.5), (4.0, 2.0)])
    def test_against_the_authors_package(self, min_cutoff, beta):
        """OneEuroFilter 0.2, told the rate of each step; the steps are uneven and some samples are missing."""
        rng = np.random.default_rng(4)
        x, time = rng.normal(size=80), 1.0 + np.cumsum(rng.uniform(0.01, 0.2, 80))
        x[[5, 6, 40]] = np.nan
        oracle, expected, last = OneEuroFilter(30, min_cutoff, beta, 1.0), [], None
        for sample, now in zip(x, time, strict=True):
            if np.isfinite(sample):
                if last is not None:
                    oracle.setFrequency(1 / (now - last))
                expected.append(oracle(sample))
                last = now
            else:
                expected.append(expected[-1])
        mean, _, held = follow(one_euro(min_cutoff, beta), x, np.full(80, 0.1), time)
        np.testing.assert_allclose(mean, expected, atol=1e-12)
        np.testing.assert_array_equal(np.flatnonzero(held), [5, 6, 40])

    def test_the_authors_ground_truth(self):
        """First rows of groundTruth.csv in the authors' repository: freq 120, mincutoff 1, beta .1, dcutoff 1."""
        noisy = [-0.0385099, -0.0280664, 0.048622, 0.111498, 0.053026, 0.120548]
        filtered = [-0.0385099, -0.0379872, -0.0334427, -0.0252696, -0.0207099, -0.0119912]
        euro = one_euro(1.0, 0.1, frame_rate=120)
        np.testing.assert_allclose(follow(euro, noisy, np.full(6, 0.1))[0], filtered, atol=2.4e-5)

    def test_timestamps_set_the_rate_from_the_second_frame_on(self):
        """A first timestamp of 0 is a time like any other."""
        by_rate, _, _ = follow(one_euro(frame_rate=10), X, V)
        by_time, _, _ = follow(one_euro(), X, V, times=np.arange(5) / 10)
        np.testing.assert_allclose(by_time, by_rate, atol=1e-12)

    def test_the_variance_does_not_matter_to_the_mean(self):
        assert (follow(one_euro(), X, V)[0] == follow(one_euro(), X, np.full(5, np.nan))[0]).all()


ALL = [ema(), ema(filter="soft_ema"), ema(time_constant=0.1), kalman(0.02), one_euro()]
IDS = ["ema", "soft_ema", "time_constant", "kalman", "one_euro"]


@pytest.mark.parametrize("stabilizer", ALL, ids=IDS)
class TestTime:
    @pytest.fixture(autouse=True)
    def _fresh(self, stabilizer):
        stabilizer.reset()

    @pytest.mark.parametrize("later", [1.5, -0.5])
    def test_a_gap_or_a_seek_starts_anew(self, stabilizer, later):
        stabilizer.update([0.9, 0.9], [0.1, 0.1], 0.0)
        np.testing.assert_array_equal(stabilizer.update([0.1, 0.2], [0.1, 0.1], later).mean, [0.1, 0.2])

    def test_a_gap_of_just_the_limit_does_not(self, stabilizer):
        stabilizer.update([0.9, 0.9], [0.1, 0.1], 0.0)
        assert (stabilizer.update([0.1, 0.1], [0.1, 0.1], 1.0).mean > 0.1).all()

    def test_a_hold_beyond_the_limit_is_not_valid_and_ends_with_a_sample(self, stabilizer):
        stabilizer.update([0.9, 0.9], [0.1, 0.1], 0.0)
        outs = [stabilizer.update([np.nan, np.nan], [np.nan, np.nan], t / 2) for t in range(1, 12)]
        assert [o.valid.all() for o in outs] == [True] * 10 + [False]
        assert np.isnan(outs[-1].mean).all()
        assert (np.diff([o.variance for o in outs[:10]], axis=0) > 0).all()
        assert stabilizer.update([0.5, 0.5], [0.1, 0.1], 6.0).valid.all()

    def test_a_constant_passes_unchanged(self, stabilizer):
        for t in range(20):
            out = stabilizer.update([0.3, -0.3], [0.1, 0.1], t / 30)
        np.testing.assert_allclose(out.mean, [0.3, -0.3], atol=1e-12)

    @given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.001, 1)), min_size=1, max_size=30))
    @settings(max_examples=30, deadline=None)
    def test_the_output_stays_within_the_samples(self, stabilizer, frames):
        """A weighted mean leaves the range of what it averages only by rounding."""
        stabilizer.reset()
        outs = [stabilizer.update([x, x], [v, v]).mean[0] for x, v in frames]
        low, high = min(x for x, _ in frames), max(x for x, _ in frames)
        finite = np.array(outs)[np.isfinite(outs)]
        assert ((finite >= low - 1e-9) & (finite <= high + 1e-9)).all()


def test_stability_over_the_window():
    window = Window(3)
    assert np.isnan(window.jitter).all()
    for x in (5.0, 0.1, 0.3, 0.2):
        window.append(np.array([x, 0.0]))
    np.testing.assert_allclose(window.variance, [np.var([0.1, 0.3, 0.2]), 0])
    np.testing.assert_allclose(window.jitter, [0.15, 0])
    with pytest.raises(ConfigError, match="at least 2"):
        Window(1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.1}, "alpha"),
        ({"uncertainty_threshold": -1}, "uncertainty_threshold"),
        ({"time_constant": 0}, "time_constant"),
        ({"filter": "kalman", "process_variance": -0.1}, "process_variance"),
        ({"filter": "one_euro", "min_cutoff": 0}, "min_cutoff"),
        ({"filter": "one_euro", "beta": -1}, "beta"),
        ({"max_gap": 0}, "max_gap"),
    ],
)
def test_parameters_out_of_range_are_named(options, name):
    with pytest.raises(ConfigError, match=name):
        make_stabilizer(StabilizerConfig(**options))


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        ema().update([0.1], [0.1])


def test_a_threshold_for_each_axis():
    made = make_stabilizer(StabilizerConfig(uncertainty_threshold=(0.1, 0.3)))
    made.update([0.0, 0.0], [0.05, 0.05])
    made.update([1.0, 1.0], [0.2, 0.2])
    assert made.held.tolist() == [True, False]


def test_no_filter_and_an_unknown_one():
    assert make_stabilizer(StabilizerConfig(filter="none")) is None
    with pytest.raises(ConfigError, match="known: ema"):
        make_stabilizer(StabilizerConfig(filter="median"))
