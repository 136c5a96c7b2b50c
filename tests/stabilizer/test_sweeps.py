"""The filters over many configurations and sequences, against the step forms and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.statespace.structural import UnobservedComponents

from emofuse.config import StabilizerConfig
from emofuse.errors import DataError
from emofuse.stabilizer import (
    Autocorrelation,
    GatedEma,
    LocalLevelKalman,
    OneEuro,
    Sequences,
    Timing,
    fit_process_variance,
    make_stabilizer,
    run_ema,
    run_kalman,
    run_one_euro,
    smooth,
)
from emofuse.stabilizer.likelihood import log_likelihood

LENGTHS = np.array([50, 23, 1])
RATE = 30
LASTING = Autocorrelation(np.array([0.3, 0.0]), np.array([0.7, 1.0]))


@pytest.fixture(scope="module")
def sequences():
    """Three of unequal length: missing samples, unknown and high variances, a gap, a seek, a missing timestamp."""
    rng = np.random.default_rng(7)
    mean = np.clip(np.cumsum(rng.normal(0, 0.1, (3, 50, 2)), axis=1), -1, 1)
    variance = rng.uniform(0.01, 0.8, (3, 50, 2))
    mean[0, [0, 12, 13]], mean[0, 20, 1] = np.nan, np.nan
    variance[1, 4], variance[0, 30, 0] = np.nan, np.nan
    times = np.cumsum(rng.uniform(0.02, 0.3, (3, 50)), axis=1)
    times[0, 25:] += 3.0
    times[1, 10:] -= 1.0
    times[0, 40] = np.nan
    return mean, variance, times


def step_through(make, sequences, s):
    mean, variance, times = sequences
    stabilizer = make()
    outs, holds = [], []
    for t in range(LENGTHS[s]):
        outs.append(stabilizer.update(mean[s, t], variance[s, t], times[s, t]))
        holds.append(stabilizer.held.copy())
    return np.array([o.mean for o in outs]), np.array([o.variance for o in outs]), np.array(holds)


TIMING = Timing(max_hold=0.5)
ALPHAS, THRESHOLDS = [0.2, 0.5, 0.7, 1.0], [0.3, 0.4, 0.7, np.inf]
CASES = {
    "ema": (
        lambda a: run_ema(*a, LENGTHS, ALPHAS, THRESHOLDS, timing=TIMING),
        [lambda i=i: GatedEma(ALPHAS[i], THRESHOLDS[i], timing=TIMING) for i in range(4)],
    ),
    "soft": (
        lambda a: run_ema(*a, LENGTHS, ALPHAS[:3], THRESHOLDS[:3], soft=True, timing=TIMING),
        [lambda i=i: GatedEma(ALPHAS[i], THRESHOLDS[i], soft=True, timing=TIMING) for i in range(3)],
    ),
    "time_constant": (
        lambda a: run_ema(*a, LENGTHS, [0.7], [0.4], time_constant=[0.05, 0.5], timing=TIMING),
        [lambda tau=tau: GatedEma(0.7, 0.4, time_constant=tau, timing=TIMING) for tau in (0.05, 0.5)],
    ),
    "threshold_per_axis": (
        lambda a: run_ema(*a, LENGTHS, [0.7], [[0.2, 0.6]], timing=TIMING),
        [lambda: GatedEma(0.7, np.array([0.2, 0.6]), timing=TIMING)],
    ),
    "kalman": (
        lambda a: run_kalman(*a, LENGTHS, [0.001, 0.02, 0.3], timing=TIMING),
        [lambda q=q: LocalLevelKalman(q, timing=TIMING) for q in (0.001, 0.02, 0.3)],
    ),
    "ema_lasting": (
        lambda a: run_ema(*a, LENGTHS, [0.2, 1.0], [0.4], timing=TIMING, autocorrelation=LASTING),
        [lambda i=i: GatedEma(i, 0.4, timing=TIMING, autocorrelation=LASTING) for i in (0.2, 1.0)],
    ),
    "soft_lasting": (
        lambda a: run_ema(*a, LENGTHS, [0.7], [0.3], soft=True, timing=TIMING, autocorrelation=LASTING),
        [lambda: GatedEma(0.7, 0.3, soft=True, timing=TIMING, autocorrelation=LASTING)],
    ),
    "kalman_lasting": (
        lambda a: run_kalman(*a, LENGTHS, [0.01, 2.0], timing=TIMING, autocorrelation=LASTING),
        [lambda q=q: LocalLevelKalman(q, timing=TIMING, autocorrelation=LASTING) for q in (0.01, 2.0)],
    ),
    "one_euro_lasting": (
        lambda a: run_one_euro(*a, LENGTHS, [1.0], [0.5], timing=TIMING, autocorrelation=LASTING),
        [lambda: OneEuro(1.0, 0.5, timing=TIMING, autocorrelation=LASTING)],
    ),
    "kalman_started": (
        lambda a: run_kalman(*a, LENGTHS, [0.02], initial_mean=0.1, initial_variance=0.2, timing=TIMING),
        [lambda: LocalLevelKalman(0.02, 0.1, 0.2, timing=TIMING)],
    ),
    "one_euro": (
        lambda a: run_one_euro(*a, LENGTHS, [0.5, 1.0, 2.0], [0.0, 0.5, 3.0], timing=TIMING),
        [lambda m=m, b=b: OneEuro(m, b, timing=TIMING) for m, b in ((0.5, 0.0), (1.0, 0.5), (2.0, 3.0))],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_vectorised_form_agrees_with_the_steps(name, sequences):
    run_all, makers = CASES[name]
    result = run_all(sequences)
    assert result.mean.shape == (len(makers), 3, 50, 2)
    for c, make in enumerate(makers):
        for s, length in enumerate(LENGTHS):
            mean, variance, held = step_through(make, sequences, s)
            np.testing.assert_allclose(result.mean[c, s, :length], mean, atol=1e-12, rtol=0)
            np.testing.assert_allclose(result.variance[c, s, :length], variance, atol=1e-12, rtol=0)
            np.testing.assert_array_equal(result.held[c, s, :length], held)
            assert not result.valid[c, s, length:].any()
            assert not result.held[c, s, length:].any()


def test_a_sequence_does_not_depend_on_its_neighbours(sequences):
    mean, variance, times = sequences
    alone = run_ema(mean[1:2], variance[1:2], times[1:2], LENGTHS[1:2], [0.5], [0.4])
    beside = run_ema(mean, variance, times, LENGTHS, ALPHAS, THRESHOLDS)
    np.testing.assert_array_equal(beside.mean[1, 1], alone.mean[0, 0])


@pytest.mark.parametrize("errors", [{}, {"autocorrelation": (0.3, 0.0), "autocorrelated_share": 0.7}])
@pytest.mark.parametrize("name", ["ema", "soft_ema", "kalman", "one_euro"])
def test_one_sequence_by_its_options(name, errors, sequences):
    mean, variance, times = (part[0] for part in sequences)
    config = StabilizerConfig(filter=name, **errors)
    affect, held = smooth(mean, variance, times, config)
    stabilizer = make_stabilizer(config)
    for t in range(50):
        out = stabilizer.update(mean[t], variance[t], times[t])
        np.testing.assert_allclose(affect.mean[t], out.mean, atol=1e-12)
        np.testing.assert_allclose(affect.variance[t], out.variance, atol=1e-12)
        np.testing.assert_array_equal(affect.valid[t], out.valid)
        np.testing.assert_array_equal(held[t], stabilizer.held)


def test_without_a_filter_a_sequence_stays_as_it_is(sequences):
    mean, variance, times = (part[0] for part in sequences)
    affect, held = smooth(mean, variance, times, StabilizerConfig(filter="none"))
    np.testing.assert_array_equal(affect.mean, mean)
    assert not held.any()


def test_an_empty_sequence_stays_empty():
    affect, held = smooth(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), StabilizerConfig())
    assert affect.mean.shape == held.shape == (0, 2)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(S, T, 2\)"):
        Sequences.of(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="lengths"):
        Sequences.of(np.zeros((1, 4, 2)), np.zeros((1, 4, 2)), lengths=[4, 4])


def random_walks(count, frames, process, noise, seed):
    rng = np.random.default_rng(seed)
    level = np.cumsum(rng.normal(0, np.sqrt(process), (count, frames, 2)), axis=1)
    return level + rng.normal(0, np.sqrt(noise), (count, frames, 2))


def test_likelihood_and_fit_agree_with_statsmodels():
    """At the measurement variance statsmodels estimates, its level variance is the maximum of ours."""
    x = random_walks(1, 300, 0.02, 0.05, seed=5)
    model = UnobservedComponents(x[0, :, 0], "llevel", use_exact_diffuse=True)
    irregular, level = model.fit(disp=False).params
    sequences = Sequences.of(x, np.full(x.shape, irregular))
    ours = log_likelihood([level * RATE], sequences)[0, 0]
    assert ours == pytest.approx(model.loglike([irregular, level]) + 0.5 * np.log(2 * np.pi), abs=1e-6)
    assert fit_process_variance(sequences)[0] == pytest.approx(level * RATE, rel=1e-3)


def test_the_fit_finds_each_axis_and_ignores_padding():
    x = random_walks(20, 200, 0.01, 0.03, seed=6)
    x[..., 1] = random_walks(20, 200, 0.1, 0.03, seed=8)[..., 1]
    lengths = np.full(20, 200)
    whole = fit_process_variance(Sequences.of(x, np.full(x.shape, 0.03), lengths=lengths))
    # The relative standard error of a variance of 4,000 steps is below 6 %.
    np.testing.assert_allclose(whole, [0.01 * RATE, 0.1 * RATE], rtol=0.18)
    padded = np.concatenate([x, np.full((20, 5, 2), 9.0)], axis=1)
    again = fit_process_variance(Sequences.of(padded, np.full(padded.shape, 0.03), lengths=lengths))
    np.testing.assert_allclose(again, whole, rtol=1e-9)


def test_the_fit_needs_samples_that_follow_each_other():
    with pytest.raises(DataError, match="at least two samples"):
        fit_process_variance(Sequences.of(np.zeros((1, 1, 2)), np.full((1, 1, 2), 0.1)))
