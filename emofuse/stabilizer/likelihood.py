"""The process variance of the local level model, by maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from emofuse.errors import DataError
from emofuse.stabilizer.steps import Timing
from emofuse.stabilizer.sweeps import AXIS_COUNT, Sequences
from emofuse.stabilizer.updates import KalmanUpdate, State, advance

MIN, GREATEST = 1e-8, 100.0
"""Bounds of the search, reference units squared per second; [-1, 1] has a greatest variance of 1, once a frame."""

GRID = 41


def log_likelihood(process_variance: ArrayLike, sequences: Sequences, timing: Timing | None = None) -> np.ndarray:
    """Gaussian log-likelihood of the innovations, summed over frames and sequences.

    The sum of -1/2 (log 2 pi F + e^2 / F), with e = x - s and F = P- + v. The first sample of a
    sequence, or after a gap, fixes the level and adds nothing (a diffuse start).

    Args:
        process_variance: (C,), reference units squared per second.
        sequences: S of them; samples of unknown variance are left out.
        timing: gaps.

    Returns:
        (C, 2), per axis.

    Source: Durbin & Koopman 2012, Time Series Analysis by State Space Methods, section 2.10.
    """
    timing = timing or Timing()
    candidates = np.asarray(process_variance, dtype=np.float64)[:, None, None]
    update = KalmanUpdate(candidates)
    shape = (len(candidates), len(sequences.lengths), AXIS_COUNT)
    start = state = State.initial(shape)
    restarts = timing.restarts(sequences.elapsed)
    elapsed = np.where(restarts, 0.0, sequences.elapsed)[:, :, None]
    total = np.zeros(shape)
    for t in range(sequences.mean.shape[1]):
        inside = (t < sequences.lengths)[:, None]
        sample = np.where(inside, sequences.mean[:, t], np.nan)
        state = state.restarted(restarts[:, t, None], start)
        spread = state.variance + candidates * elapsed[:, t] + sequences.variance[:, t]
        after, held = advance(update, state, sample, sequences.variance[:, t], elapsed[:, t])
        term = -0.5 * (np.log(2 * np.pi * spread) + (sample - state.mean) ** 2 / spread)
        total += np.where(state.started & ~held, term, 0.0)
        state = after
    return total.sum(axis=1)


def fit_process_variance(groups: Iterable[Sequences], timing: Timing | None = None) -> np.ndarray:
    """The process variance under which the sequences are likeliest.

    A grid over the whole range finds the neighbourhood, a bounded search the maximum.

    Args:
        groups: sequences side by side; their variances count as measurement noise.
        timing: gaps.

    Returns:
        (2,), valence and arousal, reference units squared per second.

    Raises:
        DataError: if an axis has no two samples that follow each other.
    """
    groups = list(groups)

    def likelihood(candidates: np.ndarray) -> np.ndarray:
        return np.sum([log_likelihood(candidates, group, timing) for group in groups], axis=0)

    grid = np.logspace(np.log10(MIN), np.log10(GREATEST), GRID)
    surface = likelihood(grid)
    if (surface == 0).all(axis=0).any():
        raise DataError("the process variance needs sequences of at least two samples with known variance on each axis")
    peaks = surface.argmax(axis=0)
    return np.array([_refine(grid, int(peak), likelihood, axis) for axis, peak in enumerate(peaks)])


def _refine(grid: np.ndarray, peak: int, likelihood: Callable[[np.ndarray], np.ndarray], axis: int) -> float:
    low, high = np.log(grid[max(peak - 1, 0)]), np.log(grid[min(peak + 1, len(grid) - 1)])

    def loss(log_variance: float) -> float:
        return -likelihood(np.array([np.exp(log_variance)]))[0, axis]

    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x))
