"""The filters one frame at a time: golden numbers, the gate, time."""

from __future__ import annotations

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.config import StabilizerConfig
from emofuse.errors import ConfigError
from emofuse.stabilizer import Autocorrelation, GatedEma, LocalLevelKalman, OneEuro, Timing, make_stabilizer, run_ema

X = np.array([0.2, 0.3, 0.9, 0.25, 0.2])
V = np.array([0.05, 0.05, 0.6, 0.05, 0.05])
WHITE = Autocorrelation(0.0)
RATE = 30
"""Frames a second by default: a process variance of Q a frame is 30 Q a second."""


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
        mean, _, held = follow(GatedEma(0.7, 0.4), X, V)
        np.testing.assert_allclose(mean, [0.2, 0.27, 0.27, 0.256, 0.2168], atol=1e-12)
        np.testing.assert_array_equal(held, [False, False, True, False, False])

    def test_a_leaking_gate_gives_other_numbers(self):
        """What updating behind the gate and hiding only the output would give; it must not match."""
        leaking = [0.2, 0.27, 0.27, 0.3883, 0.25649]
        mean, _, _ = follow(GatedEma(0.7, 0.4), X, V)
        assert np.abs(mean - leaking).max() > 0.1

    def test_the_axes_are_gated_apart(self):
        gated = GatedEma(0.7, 0.4)
        gated.update([0.0, 0.0], [0.1, 0.1])
        out = gated.update([1.0, 1.0], [0.5, 0.1])
        np.testing.assert_allclose(out.mean, [0.0, 0.7])
        np.testing.assert_array_equal(gated.held, [True, False])

    def test_the_first_sample_must_pass(self):
        gated = GatedEma(0.7, 0.4)
        first = gated.update([0.9, 0.9], [0.5, 0.41])
        assert not first.valid.any()
        assert np.isnan(first.mean).all()
        np.testing.assert_allclose(gated.update([0.1, 0.1], [0.4, 0.05]).mean, [0.1, 0.1])

    @pytest.mark.parametrize("variance", [np.nan, -0.1])
    def test_an_unknown_variance_is_held_not_trusted(self, variance):
        gated = GatedEma(0.7, 0.4)
        gated.update([0.0, 0.0], [0.1, 0.1])
        np.testing.assert_array_equal(gated.update([1.0, 1.0], [variance, variance]).mean, [0.0, 0.0])

    def test_an_open_gate_lets_unknown_variances_in(self):
        gated = GatedEma(0.5, np.inf)
        gated.update([0.0, 0.0], [np.nan, np.nan])
        out = gated.update([1.0, 1.0], [np.nan, np.nan])
        np.testing.assert_allclose(out.mean, 0.5)
        assert np.isnan(out.variance).all()

    def test_a_missing_frame_is_held(self):
        gated = GatedEma(0.7, 0.4)
        gated.update([0.2, -0.2], [0.1, 0.1])
        out = gated.update([np.nan, np.nan], [np.nan, np.nan])
        np.testing.assert_array_equal(out.mean, [0.2, -0.2])
        assert out.valid.all()
        assert gated.held.all()

    def test_variance_follows_independent_noise_and_grows_while_held(self):
        """P = alpha^2 v + (1 - alpha)^2 (P + Q dt); while held P + Q dt."""
        gated = GatedEma(0.7, 0.4, process_variance=0.02 * RATE, autocorrelation=WHITE)
        _, variance, _ = follow(gated, X, V)
        first = 0.05
        second = 0.49 * 0.05 + 0.09 * (first + 0.02)
        third = second + 0.02
        fourth = 0.49 * 0.05 + 0.09 * (third + 0.02)
        np.testing.assert_allclose(variance[:4], [first, second, third, fourth], atol=1e-15)

    def test_the_soft_gate_weighs_by_variance(self):
        """alpha threshold / (threshold + v): .7 * .4 / .45 and .7 * .4 / 1."""
        mean, _, held = follow(GatedEma(0.7, 0.4, soft=True), X[:3], V[:3])
        second = 0.2 + 0.7 * 0.4 / 0.45 * 0.1
        np.testing.assert_allclose(mean, [0.2, second, second + 0.28 * (0.9 - second)], atol=1e-12)
        assert not held.any()

    def test_jitter_on_white_noise(self):
        """1 - alpha / sqrt(2 - alpha) in expectation; alpha = .7 cuts 38.6 %, no more."""
        reductions = {0.1: 92.7, 0.2: 85.1, 0.3: 77.0, 0.4913: 60, 0.5931: 50, 0.6874: 40, 0.7: 38.6, 0.8: 27.0}
        noise = np.random.default_rng(1).normal(size=(200, 500, 2))
        out = run_ema(noise, np.full(noise.shape, 0.1), None, None, list(reductions), [0.4])
        ratios = np.abs(np.diff(out.mean, axis=2)).mean(axis=(1, 2, 3)) / np.abs(np.diff(noise, axis=1)).mean()
        alpha = np.array(list(reductions))
        np.testing.assert_allclose(100 * (1 - alpha / np.sqrt(2 - alpha)), list(reductions.values()), atol=0.06)
        # Each mean of 199,600 correlated steps has a relative error below .4 % (two deviations).
        np.testing.assert_allclose(100 * (1 - ratios), list(reductions.values()), atol=0.6)

    @pytest.mark.parametrize(
        ("alpha", "frames"), [(0.1, 22), (0.2, 11), (0.3, 7), (0.4913, 4), (0.5931, 3), (0.7, 2), (0.8, 2)]
    )
    def test_frames_to_90_percent_of_a_step(self, alpha, frames):
        """ceil(ln .1 / ln(1 - alpha))."""
        mean, _, _ = follow(GatedEma(alpha), np.r_[0.0, np.ones(40)], np.full(41, 0.01))
        assert np.argmax(mean >= 0.9) == frames

    def test_a_time_constant_means_the_same_at_any_frame_rate(self):
        """A step reaches 1 - exp(-t / tau), here at t = 1 s, whether seen at 10, 25 or 60 frames a second."""
        for rate in (10, 25, 60):
            gated = GatedEma(time_constant=0.5)
            gated.update([0, 0], [0.1, 0.1], 0.0)
            for frame in range(1, rate + 1):
                out = gated.update([1, 1], [0.1, 0.1], frame / rate)
            np.testing.assert_allclose(out.mean, 1 - np.exp(-2), atol=1e-12)

    def test_a_time_constant_counts_the_time_of_held_frames(self):
        gated = GatedEma(time_constant=0.5)
        gated.update([0, 0], [0.1, 0.1], 0.0)
        gated.update([5, 5], [0.9, 0.9], 0.25)
        np.testing.assert_allclose(gated.update([1, 1], [0.1, 0.1], 0.5).mean, 1 - np.exp(-1))


class TestKalman:
    GOLDEN_X, GOLDEN_V = [0.3, 0.9, 0.25, 0.2], [0.05, 0.6, 0.05, 0.05]

    def test_golden_series(self):
        """filterpy.kalman.KalmanFilter, s0 = .2, P0 = .05, Q = .02 a frame; it predicts before the first sample."""
        kalman = LocalLevelKalman(0.02 * RATE, 0.2, 0.05, autocorrelation=WHITE)
        mean, variance, held = follow(kalman, [np.nan, *self.GOLDEN_X], [np.nan, *self.GOLDEN_V])
        mean, variance, held = mean[1:], variance[1:], held[1:]
        np.testing.assert_allclose(mean, [0.2583333333, 0.3069319641, 0.2746580674, 0.2379575084], atol=1e-10)
        np.testing.assert_allclose(variance, [0.0291666667, 0.0454428755, 0.0283442678, 0.0245790979], atol=1e-10)
        assert not held.any()

    def test_against_filterpy_with_missing_frames(self):
        rng = np.random.default_rng(3)
        x, v = rng.normal(size=60), rng.uniform(0.01, 0.8, 60)
        x[[7, 8, 30]] = np.nan
        oracle = KalmanFilter(dim_x=1, dim_z=1)
        oracle.x, oracle.P, oracle.F, oracle.H, oracle.Q = (
            np.zeros((1, 1)),
            np.eye(1),
            np.eye(1),
            np.eye(1),
            np.eye(1) * 0.03,
        )
        expected = []
        for sample, variance in zip(x, v, strict=True):
            oracle.predict()
            oracle.update(None if np.isnan(sample) else sample, R=variance)
            expected.append((oracle.x.item(), oracle.P.item()))
        kalman = LocalLevelKalman(0.03 * RATE, 0.0, 1.0, autocorrelation=WHITE)
        mean, variance, held = follow(kalman, np.r_[np.nan, x], np.r_[np.nan, v])
        np.testing.assert_allclose(np.column_stack([mean, variance])[1:], expected, atol=1e-12)
        np.testing.assert_array_equal(np.flatnonzero(held), [0, 8, 9, 31])

    @pytest.mark.parametrize(("ratio", "gain"), [(1.0, 0.6180339887), (1.6333333333, 0.7), (0.5, 0.5)])
    def test_steady_state_gain(self, ratio, gain):
        """(q + r) / (q + r + 2), r = sqrt(q^2 + 4 q), q = Q / R; an EMA of alpha has q = alpha^2 / (1 - alpha)."""
        kalman = LocalLevelKalman(ratio * 0.1 * RATE, autocorrelation=WHITE)
        for _ in range(60):
            out = kalman.update([0.0, 0.0], [0.1, 0.1])
        step = kalman.update([1.0, 1.0], [0.1, 0.1])
        np.testing.assert_allclose(step.mean, gain, atol=1e-9)
        np.testing.assert_allclose(out.variance, gain * 0.1, atol=1e-9)

    def test_the_first_sample_is_the_level_without_a_start(self):
        out = LocalLevelKalman(0.02).update([0.4, -0.4], [0.3, 0.2])
        np.testing.assert_array_equal(out.mean, [0.4, -0.4])
        np.testing.assert_array_equal(out.variance, [0.3, 0.2])

    def test_half_a_start_is_refused(self):
        with pytest.raises(ConfigError, match="go together"):
            LocalLevelKalman(0.02, initial_mean=0.2)


class TestOneEuro:
    def test_golden_at_30_hz(self):
        """The package OneEuroFilter: freq 30, mincutoff 1, beta .5."""
        mean, _, _ = follow(OneEuro(1.0, 0.5), X, V)
        np.testing.assert_allclose(mean, [0.2, 0.2208762291, 0.4817911423, 0.4125447013, 0.3669794789], atol=1e-10)

    def test_the_authors_ground_truth(self):
        """First rows of groundTruth.csv in the authors' repository: freq 120, mincutoff 1, beta .1, dcutoff 1."""
        noisy = [-0.0385099, -0.0280664, 0.048622, 0.111498, 0.053026, 0.120548]
        filtered = [-0.0385099, -0.0379872, -0.0334427, -0.0252696, -0.0207099, -0.0119912]
        euro = OneEuro(1.0, 0.1, timing=Timing(frame_rate=120))
        np.testing.assert_allclose(follow(euro, noisy, np.full(6, 0.1))[0], filtered, atol=2.4e-5)

    def test_timestamps_set_the_rate_from_the_second_frame_on(self):
        """A first timestamp of 0 is a time like any other."""
        by_rate, _, _ = follow(OneEuro(timing=Timing(frame_rate=10)), X, V)
        by_time, _, _ = follow(OneEuro(), X, V, times=np.arange(5) / 10)
        np.testing.assert_allclose(by_time, by_rate, atol=1e-12)

    def test_the_variance_does_not_matter_to_the_mean(self):
        assert (follow(OneEuro(), X, V)[0] == follow(OneEuro(), X, np.full(5, np.nan))[0]).all()


ALL = [GatedEma(), GatedEma(soft=True), GatedEma(time_constant=0.1), LocalLevelKalman(0.02), OneEuro()]
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
        np.testing.assert_allclose(stabilizer.window.variance, 0, atol=1e-20)
        np.testing.assert_allclose(stabilizer.window.jitter, 0, atol=1e-12)

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
    gated = GatedEma(alpha=1.0, window=3)
    assert np.isnan(gated.window.jitter).all()
    for x in (5.0, 0.1, 0.3, 0.2):
        gated.update([x, 0.0], [0.1, 0.1])
    np.testing.assert_allclose(gated.window.variance, [np.var([0.1, 0.3, 0.2]), 0])
    np.testing.assert_allclose(gated.window.jitter, [0.15, 0])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: GatedEma(alpha=0.0), "alpha"),
        (lambda: GatedEma(alpha=1.1), "alpha"),
        (lambda: GatedEma(uncertainty_threshold=-1), "uncertainty_threshold"),
        (lambda: GatedEma(time_constant=0), "time_constant"),
        (lambda: GatedEma(window=1), "window"),
        (lambda: LocalLevelKalman(-0.1), "process_variance"),
        (lambda: OneEuro(min_cutoff=0), "min_cutoff"),
        (lambda: OneEuro(beta=-1), "beta"),
        (lambda: GatedEma(timing=Timing(max_gap=0)), "max_gap"),
    ],
)
def test_parameters_out_of_range_are_named(make, name):
    with pytest.raises(ConfigError, match=name):
        make()


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        GatedEma().update([0.1], [0.1])


@pytest.mark.parametrize("name", ["ema", "soft_ema", "kalman", "one_euro"])
def test_a_stabilizer_from_options(name):
    config = StabilizerConfig(filter=name, alpha=0.6, window=7)
    made = make_stabilizer(config)
    assert type(made) is {"kalman": LocalLevelKalman, "one_euro": OneEuro}.get(name, GatedEma)
    for i in range(9):
        made.update([i / 10, 0], [0.1, 0.1])
    assert len(made.window.series) == 7


def test_a_threshold_for_each_axis():
    made = make_stabilizer(StabilizerConfig(uncertainty_threshold=(0.1, 0.3)))
    made.update([0.0, 0.0], [0.05, 0.05])
    made.update([1.0, 1.0], [0.2, 0.2])
    assert made.held.tolist() == [True, False]


def test_no_filter_and_an_unknown_one():
    assert make_stabilizer(StabilizerConfig(filter="none")) is None
    with pytest.raises(ConfigError, match="known: ema"):
        make_stabilizer(StabilizerConfig(filter="median"))
