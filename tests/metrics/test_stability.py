"""Metrics of stability against closed forms for the exponential moving average."""

import numpy as np
import pytest
from scipy.signal import lfilter

from emofuse.affect import Affect
from emofuse.config import StabilizerConfig
from emofuse.metrics.stability import (
    hold_rate,
    jitter,
    jitter_reduction,
    lag,
    noise_variance,
    response_time,
    rms_jitter,
    step_response,
    window_variance,
)
from emofuse.stabilizer import make_stabilizer

# An exponential moving average of white noise with weight alpha of the new sample has jitter alpha / sqrt(2 - alpha)
# of the input's, and needs ceil(log .1 / log(1 - alpha)) frames to nine tenths of a step.
ALPHAS = [
    (0.1, 92.7, 22),
    (0.2, 85.1, 11),
    (0.3, 77.0, 7),
    (0.4913, 60, 4),
    (0.5931, 50, 3),
    (0.7, 38.6, 2),
    (0.8, 27.0, 2),
]


def ema(x, alpha):
    return lfilter([alpha], [1, alpha - 1], x, zi=[(1 - alpha) * x[0]])[0]


@pytest.mark.parametrize(("alpha", "reduction", "frames"), ALPHAS)
def test_exponential_moving_average(alpha, reduction, frames):
    noise = np.random.default_rng(0).normal(size=100_000)
    assert 100 * jitter_reduction(noise, ema(noise, alpha)) == pytest.approx(reduction, abs=0.3)
    step = np.repeat([0.0, 1.0], [5, 60])
    assert response_time(ema(step, alpha), 5) == frames
    assert response_time(make_stabilizer(StabilizerConfig(alpha=alpha))) == pytest.approx([frames, frames])


def test_ramp_shows_the_lag():
    # Behind a slow signal the average runs (1 - alpha) / alpha frames: 4 for .2.
    signal = np.sin(np.arange(600) / 20)
    assert lag(signal, ema(signal, 0.2)) == 4
    assert lag(ema(signal, 0.2), signal) == -4
    assert lag(signal, signal) == 0
    both = np.column_stack([signal, np.roll(signal, 3)])
    np.testing.assert_array_equal(lag(np.column_stack([signal, signal]), both), [0, 3])


def test_lag_without_an_answer():
    assert np.isnan(lag(np.zeros(20), np.ones(20)))
    assert np.isnan(lag([], []))
    gaps = np.sin(np.arange(200) / 9)
    late = np.roll(gaps, 2)
    late[30:50] = np.nan
    assert lag(gaps, late) == 2


def test_steps_by_hand():
    series = [0, 0.1, -0.1, 0.3]
    assert jitter(series) == pytest.approx(0.7 / 3)
    assert rms_jitter(series) == pytest.approx(np.sqrt((0.01 + 0.04 + 0.16) / 3))
    assert noise_variance(series) == pytest.approx((0.01 + 0.04 + 0.16) / 6)


def test_noise_variance_sees_through_drift():
    rng = np.random.default_rng(1)
    drift = 0.5 * np.sin(np.linspace(0, 12, 20_000))
    noisy = drift + rng.normal(0, 0.1, 20_000)
    assert noise_variance(noisy) == pytest.approx(0.01, rel=0.03)
    assert window_variance(noisy, 20_000) > 0.1


def test_gaps_make_no_steps():
    series = np.array([0.0, 1, np.nan, 5, 6])
    assert jitter(series) == 1
    both = np.column_stack([series, [np.nan, 2, 2, 2, 4]])
    np.testing.assert_allclose(jitter(both), [1, 2 / 3])
    assert np.isnan(jitter([1.0]))
    assert np.isnan(jitter([np.nan, 1, np.nan]))
    # Frames that only one of the series has are left out of both.
    assert jitter_reduction(series, [0, 0.5, 0.5, 0.5, 1]) == pytest.approx(0.5)


def test_frozen_output_has_no_jitter():
    noise = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_array_equal(jitter_reduction(noise, np.zeros((50, 2))), [1, 1])
    assert np.isnan(jitter_reduction(np.zeros(5), noise[:5, 0]))
    assert response_time(np.zeros(50), 10) == np.inf


def test_window_variance():
    series = np.array([0.0, 1, 0, 1, np.nan, 2, 4])
    expected = [np.var(series[i : i + 2], ddof=1) for i in (0, 1, 2, 5)]
    assert window_variance(series, 2) == pytest.approx(np.mean(expected))
    assert np.isnan(window_variance(series, 8))
    with pytest.raises(ValueError, match="window"):
        window_variance(series, 1)


def test_hold_rate():
    assert hold_rate(np.array([True, False, False, False])) == 0.25
    np.testing.assert_array_equal(hold_rate(np.array([[True, False], [True, True]])), [1, 0.5])
    assert hold_rate([1.0, np.nan, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert np.isnan(hold_rate([]))


def test_response_of_filters():
    # A local level in its steady state is an average whose weight is the gain K = (sqrt(q² + 4q) - q) / 2.
    q = 0.02 / 0.05
    gain = (np.sqrt(q * q + 4 * q) - q) / 2
    expected = np.ceil(np.log(0.1) / np.log(1 - gain))
    kalman = make_stabilizer(StabilizerConfig(filter="kalman", process_variance=0.02 * 30))
    np.testing.assert_array_equal(response_time(kalman), [expected, expected])
    # Less smoothing at speed: a rise of beta shortens the response.
    euro = [StabilizerConfig(filter="one_euro", min_cutoff=0.5, beta=beta) for beta in (0.0, 2.0)]
    slow, quick = (response_time(make_stabilizer(config))[0] for config in euro)
    assert quick < slow < np.inf


def test_response_to_steps_of_either_direction():
    down = np.array([0.8, 0.8, 0.2, -0.25, -0.35, -0.4])
    assert response_time(down, 2, low=0.8, high=-0.4) == 3
    assert response_time(down, 2, low=0.8, high=-0.4, share=0.5) == 1
    assert response_time([0.0, 0.5, 0.9]) == 2
    np.testing.assert_array_equal(response_time(np.column_stack([down, down]), 2, low=0.8, high=-0.4), [3, 3])


class Delay:
    """Gives each sample out one frame late."""

    def __init__(self):
        self.last, self.times = np.zeros(2), []

    def update(self, mean, variance, timestamp=None):
        self.times.append(timestamp)
        out, self.last = self.last, mean
        return Affect.of(out, variance)


def test_a_filter_is_driven_frame_by_frame():
    delay = Delay()
    series = step_response(delay, low=-1, high=1, fps=10, settle=3, frames=4)
    np.testing.assert_array_equal(series[:, 0], [0, -1, -1, -1, 1, 1, 1])
    assert delay.times == pytest.approx(np.arange(7) / 10)
    np.testing.assert_array_equal(response_time(Delay()), [2, 2])


@pytest.mark.parametrize("options", [{"low": 1.0}, {"share": 0}, {"share": 90}])
def test_a_step_has_a_height(options):
    with pytest.raises(ValueError, match="step"):
        response_time(np.zeros(4), **options)
