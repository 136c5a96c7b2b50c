"""The filters over many configurations and sequences, against the step forms and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.statespace.structural import UnobservedComponents

from emofuse.config import StabilizerConfig
from emofuse.errors import DataError
from emofuse.stabilizer import Sequences, Timing, fit_process_variance, make_stabilizer, run, smooth
from emofuse.stabilizer.likelihood import log_likelihood
from emofuse.tuning.stabilizer.grid import Grid

LENGTHS = np.array([50, 23, 1])
RATE = 30
LASTING = {"autocorrelation": (0.3, 0.0), "autocorrelated_share": (0.7, 1.0)}


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


GRIDS = [
    Grid("ema", [{"alpha": a, "uncertainty_threshold": u} for a, u in ((0.2, 0.3), (0.5, 0.4), (0.7, (0.2, 0.6)))]),
    Grid("ema", [{"alpha": 1.0, "uncertainty_threshold": np.inf}]),
    Grid("soft_ema", [{"alpha": a, "uncertainty_threshold": 0.3} for a in (0.2, 0.7)]),
    Grid("kalman", [{"process_variance": q} for q in (0.001, 0.02, (0.3, 2.0))]),
    Grid("one_euro", [{"min_cutoff": m, "beta": b} for m, b in ((0.5, 0.0), (1.0, 0.5), (2.0, 3.0))]),
]


def side_by_side(grid, base, sequences, lengths):
    """Means, variances, holds and validity (C, S, T, 2) of the vectorised form."""
    timing = Timing(base.frame_rate, base.max_gap, base.max_hold)
    stabilizer = make_stabilizer(base)
    frames = run(
        grid.update(base),
        Sequences.of(*sequences, lengths, timing=timing),
        len(grid),
        timing=timing,
        autocorrelation=stabilizer.autocorrelation,
    )
    parts = [(frame.mean, frame.variance, frame.held, frame.valid) for frame in frames]
    return [np.stack(each, axis=2) for each in zip(*parts, strict=True)]


@pytest.mark.parametrize("options", [{}, LASTING, {"time_constant": 0.5}], ids=["raw", "lasting", "time_constant"])
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.filter}-{len(grid)}")
def test_the_vectorised_form_agrees_with_the_steps(grid, options, sequences):
    base = StabilizerConfig(max_hold=0.5, **options)
    mean, variance, held, valid = side_by_side(grid, base, sequences, LENGTHS)
    assert mean.shape == (len(grid), 3, 50, 2)
    for c, config in enumerate(grid.configs(base)):
        for s, length in enumerate(LENGTHS):
            stabilizer = make_stabilizer(config)
            for t in range(length):
                out = stabilizer.update(*(part[s, t] for part in sequences))
                here = valid[c, s, t]
                np.testing.assert_array_equal(here, out.valid)
                np.testing.assert_allclose(mean[c, s, t][here], out.mean[here], atol=1e-12, rtol=0)
                np.testing.assert_allclose(variance[c, s, t][here], out.variance[here], atol=1e-12, rtol=0)
                np.testing.assert_array_equal(held[c, s, t], stabilizer.held)
            assert not valid[c, s, length:].any()
            assert not held[c, s, length:].any()


def test_a_sequence_does_not_depend_on_its_neighbours(sequences):
    alone = side_by_side(GRIDS[0], StabilizerConfig(), [part[1:2] for part in sequences], LENGTHS[1:2])[0]
    beside = side_by_side(GRIDS[0], StabilizerConfig(), sequences, LENGTHS)[0]
    np.testing.assert_array_equal(beside[:, 1], alone[:, 0])


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
    assert fit_process_variance([sequences])[0] == pytest.approx(level * RATE, rel=1e-3)


def test_the_fit_finds_each_axis_and_ignores_padding():
    x = random_walks(20, 200, 0.01, 0.03, seed=6)
    x[..., 1] = random_walks(20, 200, 0.1, 0.03, seed=8)[..., 1]
    lengths = np.full(20, 200)
    whole = fit_process_variance([Sequences.of(x, np.full(x.shape, 0.03), lengths=lengths)])
    # The relative standard error of a variance of 4,000 steps is below 6 %.
    np.testing.assert_allclose(whole, [0.01 * RATE, 0.1 * RATE], rtol=0.18)
    padded = np.concatenate([x, np.full((20, 5, 2), 9.0)], axis=1)
    again = fit_process_variance([Sequences.of(padded, np.full(padded.shape, 0.03), lengths=lengths)])
    np.testing.assert_allclose(again, whole, rtol=1e-9)


def test_the_fit_needs_samples_that_follow_each_other():
    with pytest.raises(DataError, match="at least two samples"):
        fit_process_variance([Sequences.of(np.zeros((1, 1, 2)), np.full((1, 1, 2), 0.1))])
