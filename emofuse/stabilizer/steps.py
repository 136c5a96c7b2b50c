"""The filters one frame at a time, for a live loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from OneEuroFilter import OneEuroFilter

from emofuse.affect import Affect
from emofuse.errors import ConfigError
from emofuse.stabilizer.autocorrelation import Autocorrelation, FilterError, propagate
from emofuse.stabilizer.updates import EmaUpdate, FilterUpdate, KalmanUpdate, OneEuroUpdate, State, advance

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

    def __post_init__(self) -> None:
        for name in ("frame_rate", "max_gap", "max_hold"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive; got {getattr(self, name)}")

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
    """The state of one sequence under one filter; the base of the filters below.

    Args:
        update: the filter.
        timing: gaps, holds and the frame rate.
        window: frames that `window` looks back on.
        initial: the state before the first frame.
        autocorrelation: of the samples' errors; None = not known, and the variance given is that of raw samples.

    Attributes:
        held: bool, shape (2,): where the last sample was held.
        window: the last outputs; `window.jitter` and `window.variance` say how calm they are.
    """

    def __init__(
        self,
        update: FilterUpdate,
        timing: Timing,
        window: int,
        initial: State,
        autocorrelation: Autocorrelation | None = None,
    ) -> None:
        self.filter_update, self.timing, self.autocorrelation, self._initial = update, timing, autocorrelation, initial
        self._time: float | None = None
        self._frames = window
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        self._state, self._error, self._time = self._initial, FilterError.initial(self._initial.variance), None
        self.held = np.zeros(AXIS_COUNT, dtype=bool)
        self.window = Window(self._frames)

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
            self._restart()
            elapsed = 0.0
        self._state, self.held = self._advance(mean, variance, elapsed)
        valid = self._state.started & (self._state.age <= self.timing.max_hold)
        gain, process = self._state.gain, self.filter_update.process_variance
        self._error = propagate(self._error, gain, variance, elapsed, process, self.autocorrelation)
        smoothed = Affect.of(self._state.mean, self._error.variance, valid)
        self.window.append(smoothed.mean)
        return smoothed

    def _elapse(self, timestamp: float | None) -> float:
        """Seconds since the frame before, moving the clock to this frame."""
        before, usual = self._time, 1 / self.timing.frame_rate
        if timestamp is None or not np.isfinite(timestamp):
            self._time = 0.0 if before is None else before + usual
            return 0.0 if before is None else usual
        self._time = float(timestamp)
        return 0.0 if before is None else self._time - before

    def _restart(self) -> None:
        self._state, self._error = self._initial, FilterError.initial(self._initial.variance)

    def _advance(self, mean: np.ndarray, variance: np.ndarray, elapsed: float) -> tuple[State, np.ndarray]:
        return advance(self.filter_update, self._state, mean, variance, elapsed)


class GatedEma(Stabilizer):
    """Exponential moving average behind a gate on the variance.

    Args:
        alpha: weight of the new sample, 0 to 1.
        uncertainty_threshold: on the variance, per axis (a float, or shape (2,)); a sample above it is held.
        window: frames that `Stabilizer.window` looks back on.
        soft: weigh uncertain samples down instead of holding them.
        time_constant: seconds; takes the place of alpha, and means the same at any frame rate.
        process_variance: variance of the level's step in a second, reference units squared: what a lag or a hold costs.
        timing: gaps, holds and the frame rate.
        autocorrelation: of the samples' errors; None = not known, and the variance given is that of raw samples.

    >>> filter = GatedEma(alpha=0.7, uncertainty_threshold=0.4)
    >>> frames = [([0.2, 0.2], [0.05, 0.05]), ([0.9, 0.3], [0.6, 0.05])]
    >>> [filter.update(mean, variance).mean.round(3).tolist() for mean, variance in frames]
    [[0.2, 0.2], [0.2, 0.27]]
    """

    def __init__(
        self,
        alpha: float = 0.7,
        uncertainty_threshold: float | np.ndarray = 0.4,
        window: int = 60,
        *,
        soft: bool = False,
        time_constant: float | None = None,
        process_variance: float | np.ndarray = 0.3,
        timing: Timing | None = None,
        autocorrelation: Autocorrelation | None = None,
    ) -> None:
        update = EmaUpdate(alpha, uncertainty_threshold, process_variance, time_constant, soft)
        super().__init__(update, timing or Timing(), window, State.initial((AXIS_COUNT,), None, None), autocorrelation)


class LocalLevelKalman(Stabilizer):
    """Kalman filter of the local level model, with the sample's variance as measurement noise.

    Args:
        process_variance: variance of the level's step in a second, a float or shape (2,), as from
            `fit_process_variance`.
        initial_mean: the level at the first frame; by default the first sample is the level.
        initial_variance: its variance; needed with `initial_mean`.
        window: frames that `Stabilizer.window` looks back on.
        timing: gaps, holds and the frame rate.
        autocorrelation: of the samples' errors; None = not known, and the variance given is that of raw samples.
    """

    def __init__(
        self,
        process_variance: float | np.ndarray,
        initial_mean: float | np.ndarray | None = None,
        initial_variance: float | np.ndarray | None = None,
        window: int = 60,
        *,
        timing: Timing | None = None,
        autocorrelation: Autocorrelation | None = None,
    ) -> None:
        if (initial_mean is None) != (initial_variance is None):
            raise ConfigError("initial_mean and initial_variance go together: give both or neither")
        initial = State.initial((AXIS_COUNT,), initial_mean, initial_variance)
        super().__init__(
            KalmanUpdate(np.asarray(process_variance)), timing or Timing(), window, initial, autocorrelation
        )


class OneEuro(Stabilizer):
    """The One-Euro filter of the package OneEuroFilter on both axes; it adapts to speed, not to uncertainty.

    Args:
        min_cutoff: cutoff at rest, Hz; less removes more jitter.
        beta: rise of the cutoff with speed; more means less lag.
        derivative_cutoff: cutoff of the speed's own low pass, Hz.
        window: frames that `Stabilizer.window` looks back on.
        process_variance: variance of the level's step in a second, reference units squared: what a lag or a hold costs.
        timing: gaps, holds and the frame rate.
        autocorrelation: of the samples' errors; None = not known, and the variance given is that of raw samples.
    """

    def __init__(
        self,
        min_cutoff: float = 1.0,
        beta: float = 0.5,
        derivative_cutoff: float = 1.0,
        window: int = 60,
        *,
        process_variance: float | np.ndarray = 0.3,
        timing: Timing | None = None,
        autocorrelation: Autocorrelation | None = None,
    ) -> None:
        timing = timing or Timing()
        update = OneEuroUpdate(min_cutoff, beta, derivative_cutoff, timing.frame_rate, process_variance)
        self._euro = update
        super().__init__(update, timing, window, State.initial((AXIS_COUNT,), None, None), autocorrelation)

    def _restart(self) -> None:
        super()._restart()
        self._filters = _one_euro_filters(self._euro)

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        super().reset()
        self._filters = _one_euro_filters(self._euro)

    def _advance(self, mean: np.ndarray, variance: np.ndarray, elapsed: float) -> tuple[State, np.ndarray]:
        """The update gives the variance, the package the mean.

        The package takes a timestamp of 0 for none, so it is told the rate instead.
        """
        state, held = super()._advance(mean, variance, elapsed)
        level = self._state.mean.copy()
        for axis in np.flatnonzero(~held):
            age = self._state.age[axis] + elapsed
            if self._state.started[axis] and age > 0:
                self._filters[axis].setFrequency(1 / age)
            level[axis] = self._filters[axis](float(mean[axis]))
        return replace(state, mean=level), held


def _one_euro_filters(update: OneEuroUpdate) -> list[OneEuroFilter]:
    settings = (float(update.frame_rate), float(update.min_cutoff), float(update.beta), float(update.derivative_cutoff))
    return [OneEuroFilter(*settings) for _ in range(AXIS_COUNT)]


def _pair(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (AXIS_COUNT,):
        raise ValueError(f"{name} must have shape (2,): valence, arousal; got {array.shape}")
    return array
