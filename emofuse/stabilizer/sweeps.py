"""The filters over configurations x sequences x frames at once.

Time is the only loop: each step advances every configuration and every sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.stabilizer.autocorrelation import Autocorrelation, FilterError, propagate
from emofuse.stabilizer.steps import AXIS_COUNT, Timing
from emofuse.stabilizer.updates import FilterUpdate, State, advance


@dataclass(frozen=True)
class Sequences:
    """Sequences side by side, padded to the longest.

    Attributes:
        mean: (S, T, 2), reference scale; NaN = no sample.
        variance: (S, T, 2), reference units squared; NaN = unknown.
        elapsed: (S, T), seconds since the frame before.
        lengths: (S,), frames of each.
    """

    mean: np.ndarray
    variance: np.ndarray
    elapsed: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(
        cls,
        mean: ArrayLike,
        variance: ArrayLike,
        timestamps: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        timing: Timing | None = None,
    ) -> Sequences:
        """Padded arrays as sequences.

        Args:
            mean: (S, T, 2).
            variance: (S, T, 2).
            timestamps: (S, T) seconds; None, or NaN in places = one frame at the frame rate of `timing`.
            lengths: (S,); by default every sequence has T frames.

        Raises:
            ValueError: if the shapes do not belong together.
        """
        m, v = np.asarray(mean, dtype=np.float64), np.asarray(variance, dtype=np.float64)
        if m.ndim != 3 or m.shape[2] != AXIS_COUNT or v.shape != m.shape:
            raise ValueError(f"mean and variance must both have shape (S, T, 2); got {m.shape} and {v.shape}")
        count, frames = m.shape[:2]
        times = np.full((count, frames), np.nan) if timestamps is None else np.asarray(timestamps, dtype=np.float64)
        sizes = np.full(count, frames) if lengths is None else np.asarray(lengths)
        if times.shape != (count, frames) or sizes.shape != (count,):
            expected = f"timestamps {(count, frames)} and lengths {(count,)}"
            raise ValueError(f"expected {expected}; got {times.shape} and {sizes.shape}")
        return cls(m, v, elapsed_seconds(times, (timing or Timing()).frame_rate), sizes)


@dataclass(frozen=True)
class Frame:
    """One frame of every configuration and sequence.

    Attributes:
        index: the place of the frame in its sequence.
        mean: (C, S, 2), the level; read it where `valid`.
        variance: (C, S, 2), its variance; NaN where `run` was not asked for it.
        held: (C, S, 2) bool, where the sample was held.
        valid: (C, S, 2) bool; false after the end of a sequence too.
    """

    index: int
    mean: np.ndarray
    variance: np.ndarray
    held: np.ndarray
    valid: np.ndarray


def elapsed_seconds(timestamps: np.ndarray, frame_rate: float) -> np.ndarray:
    """Seconds since the frame before, 0 at the first.

    Args:
        timestamps: (S, T) seconds; NaN = one frame at `frame_rate` after the one before.
        frame_rate: Hz.

    Returns:
        (S, T); negative where time runs backwards.
    """
    frames = np.arange(timestamps.shape[1])
    known = np.isfinite(timestamps)
    last = np.maximum.accumulate(np.where(known, frames, 0), axis=1)
    base = np.nan_to_num(np.take_along_axis(timestamps, last, axis=1))
    clock = base + (frames - last) / frame_rate
    elapsed = np.diff(clock, axis=1, prepend=clock[:, :1])
    return np.where(known | (frames == 0), elapsed, 1 / frame_rate)


def run(
    update: FilterUpdate,
    sequences: Sequences,
    configurations: int,
    *,
    timing: Timing | None = None,
    autocorrelation: Autocorrelation | None = None,
    variances: bool = True,
) -> Iterator[Frame]:
    """Every frame in turn, for all configurations and sequences; nothing is kept.

    Args:
        update: with parameters that broadcast to (C, S, 2), as from `per_configuration`.
        sequences: what to smooth.
        configurations: C.
        timing: gaps and holds.
        autocorrelation: of the samples' errors, parts of shape (2,) or floats; None = not known.
        variances: whether to follow the variance of the level; without, a sweep of means saves a third of its time.
    """
    timing = timing or Timing()
    shape = (configurations, len(sequences.lengths), AXIS_COUNT)
    start, calm = State.initial(shape), FilterError.initial(shape)
    state, error, unknown = start, calm, np.full(shape, np.nan)
    restarts = timing.restarts(sequences.elapsed)
    elapsed = np.where(restarts, 0.0, sequences.elapsed)
    for t in range(sequences.mean.shape[1]):
        if restarts[:, t].any():
            again = restarts[:, t, None]
            state, error = state.restarted(again, start), error.restarted(again, calm)
        inside = (t < sequences.lengths)[:, None]
        sample = np.where(inside, sequences.mean[:, t], np.nan)
        spread, since = sequences.variance[:, t], elapsed[:, t, None]
        state, held = advance(update, state, sample, spread, since)
        if variances:
            error = propagate(error, state.gain, spread, since, update.process_variance, autocorrelation)
        valid = state.started & (state.age <= timing.max_hold) & inside
        yield Frame(t, state.mean, error.variance if variances else unknown, held & inside, valid)


def per_configuration(values: ArrayLike) -> np.ndarray:
    """Parameters (C,), or (C, 2) for one per axis, in a form that broadcasts to (C, S, 2)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != AXIS_COUNT):
        raise ValueError(f"parameters must have shape (C,) or (C, 2); got {array.shape}")
    return array.reshape(len(array), 1, -1)
