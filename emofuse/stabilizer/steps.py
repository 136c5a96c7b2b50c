"""The filters one frame at a time, for a live loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import Affect
from emofuse.errors import ConfigError
from emofuse.stabilizer.autocorrelation import Autocorrelation, FilterError, propagate
from emofuse.stabilizer.updates import FilterUpdate, State, advance

AXIS_COUNT = 2


@dataclass(frozen=True)
class Timing:
    """What a filter makes of time.

    Attributes:
        frame_rate: frames per second where a frame carries no timestamp.
        max_gap: a frame more than this many seconds after the one before starts again, and so
            does one before it (a seek).
        max_hold: a level older than this many seconds is no longer given out as valid.
    """

    frame_rate: float = 30.0
    max_gap: float = 1.0
    max_hold: float = 5.0

    def restarts(self, elapsed: np.ndarray | float) -> np.ndarray:
        """Where so much time has gone by, or time has run backwards, that a filter starts again."""
        return (np.asarray(elapsed) > self.max_gap) | (np.asarray(elapsed) < 0)


class Window:
    """The last outputs of a sequence, and how calm they are.

    Args:
        frames: how many are kept, at least 2.
    """

    def __init__(self, frames: int) -> None:
        if frames < 2:
            raise ConfigError(f"window must hold at least 2 frames; got {frames}")
        self._recent: deque[np.ndarray] = deque(maxlen=frames)

    def append(self, mean: np.ndarray) -> None:
        """Add an output, shape (2,), NaN where not valid."""
        self._recent.append(mean)

    @property
    def series(self) -> np.ndarray:
        """The outputs kept, (n, 2)."""
        return np.array(self._recent).reshape(-1, AXIS_COUNT)

    @property
    def variance(self) -> np.ndarray:
        """Variance of the valid outputs, shape (2,); it mixes signal and noise. NaN below two of them."""
        outputs = [axis[np.isfinite(axis)] for axis in self.series.T]
        return np.array([np.var(axis) if len(axis) > 1 else np.nan for axis in outputs])

    @property
    def jitter(self) -> np.ndarray:
        """Mean absolute step per frame, shape (2,). NaN where no two frames adjoin."""
        steps = [np.abs(np.diff(axis)) for axis in self.series.T]
        steps = [axis[np.isfinite(axis)] for axis in steps]
        return np.array([axis.mean() if len(axis) else np.nan for axis in steps])


class Stabilizer:
    """The state of one sequence under one filter.

    Args:
        update: the filter.
        timing: gaps, holds and the frame rate.
        autocorrelation: of the samples' errors; None = not known, and the variance given is that of raw samples.

    Attributes:
        held: bool, shape (2,): where the last sample was held.
    """

    def __init__(self, update: FilterUpdate, timing: Timing, autocorrelation: Autocorrelation | None = None) -> None:
        self.filter_update, self.timing, self.autocorrelation = update, timing, autocorrelation
        self._start = State.initial((AXIS_COUNT,)), FilterError.initial((AXIS_COUNT,))
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        self._time: float | None = None
        self.held = np.zeros(AXIS_COUNT, dtype=bool)
        self._state, self._error = self._start

    def update(self, mean: ArrayLike, variance: ArrayLike, timestamp: float | None = None) -> Affect:
        """The smoothed estimate after one more frame.

        Args:
            mean: shape (2,), reference scale; NaN = no sample on that axis.
            variance: shape (2,), reference units squared; NaN = unknown.
            timestamp: seconds; None = one frame at `frame_rate` after the one before.

        Returns:
            Shape (2,); not valid before the first sample that is let in, nor after `max_hold`.

        Raises:
            ValueError: if mean or variance is not of shape (2,).
        """
        mean, variance = _pair(mean, "mean"), _pair(variance, "variance")
        elapsed = self._elapse(timestamp)
        if self.timing.restarts(elapsed):
            self._state, self._error = self._start
            elapsed = 0.0
        self._state, self.held = advance(self.filter_update, self._state, mean, variance, elapsed)
        valid = self._state.started & (self._state.age <= self.timing.max_hold)
        gain, process = self._state.gain, self.filter_update.process_variance
        self._error = propagate(self._error, gain, variance, elapsed, process, self.autocorrelation)
        return Affect.of(self._state.mean, self._error.variance, valid)

    def _elapse(self, timestamp: float | None) -> float:
        """Seconds since the frame before, moving the clock to this frame."""
        before, usual = self._time, 1 / self.timing.frame_rate
        if timestamp is None or not np.isfinite(timestamp):
            self._time = 0.0 if before is None else before + usual
            return 0.0 if before is None else usual
        self._time = float(timestamp)
        return 0.0 if before is None else self._time - before


def _pair(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (AXIS_COUNT,):
        raise ValueError(f"{name} must have shape (2,): valence, arousal; got {array.shape}")
    return array
