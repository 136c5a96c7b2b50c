"""The filters as gain updates: every one of them is s += K (x - s), and they differ in K alone.

The same functions serve one frame of one sequence (shape (2,)) and a whole sweep
(configurations x sequences x 2): parameters and samples only have to broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from emofuse.errors import ConfigError

Array = np.ndarray

FILTERS = ("ema", "soft_ema", "kalman", "one_euro", "none")


@dataclass(frozen=True)
class State:
    """What a filter remembers; all of one shape (..., 2).

    Attributes:
        mean: the level s; 0 before the first sample.
        variance: its variance P if errors are independent, which sets a Kalman gain; reference units squared, NaN =
            unknown.
        age: seconds since the last sample that was let in.
        started: whether there is a level at all.
        speed: One-Euro's low-passed speed, reference units per second.
        rate: One-Euro's last known sampling rate, Hz.
        gain: K of the last sample, 0 where it was held.
    """

    mean: Array
    variance: Array
    age: Array
    started: Array
    speed: Array
    rate: Array
    gain: Array

    @classmethod
    def initial(cls, shape: tuple[int, ...]) -> State:
        """The state before the first frame; the first sample let in becomes the level."""
        zero, started = np.zeros(shape), np.zeros(shape, dtype=bool)
        return cls(zero, zero, zero, started, zero, np.full(shape, np.nan), zero)

    def restarted(self, where: Array, initial: State) -> State:
        """This state with `initial` put in `where` (broadcasts to the state's shape)."""
        fields = ("mean", "variance", "age", "started", "speed", "rate", "gain")
        return State(**{name: np.where(where, getattr(initial, name), getattr(self, name)) for name in fields})


@dataclass(frozen=True)
class Sample:
    """One frame's estimate; its parts broadcast to the shape of the state.

    Attributes:
        mean: reference scale; 0 where there is none.
        variance: reference units squared; NaN = unknown.
        present: where there is a sample.
        elapsed: seconds since the frame before.
    """

    mean: Array
    variance: Array
    present: Array
    elapsed: Array | float


class FilterUpdate(Protocol):
    """A filter's parameters and what it makes of a sample."""

    @property
    def process_variance(self) -> Array | float:
        """Variance of the level's step in a second, reference units squared."""

    def gain(self, state: State, sample: Sample) -> tuple[Array | float, Array, State]:
        """The gain K of the new sample, where it is held, and the state with P just before it; `age` has advanced."""


@dataclass(frozen=True)
class EmaUpdate:
    """K = alpha behind a gate on the variance, hard or soft.

    The hard gate holds a sample whose variance exceeds the threshold, or is unknown (an
    infinite threshold lets both in). The soft one weighs it down: K = alpha threshold / (threshold + v).
    With a time constant tau, alpha = 1 - exp(-age / tau) of the seconds since the last sample let in.
    """

    alpha: Array | float
    threshold: Array | float
    process_variance: Array | float = 0.0
    time_constant: Array | float | None = None
    soft: bool = False

    def gain(self, state: State, sample: Sample) -> tuple[Array | float, Array, State]:
        """See `FilterUpdate.gain`."""
        alpha = self.alpha if self.time_constant is None else -np.expm1(-state.age / self.time_constant)
        if self.soft:
            return alpha / (1 + sample.variance / self.threshold), ~(sample.present & (sample.variance >= 0)), state
        passes = (sample.variance <= self.threshold) | np.isposinf(self.threshold)
        return alpha, ~(sample.present & passes), state


@dataclass(frozen=True)
class KalmanUpdate:
    """The local level model: x = level + noise of the sample's variance, the level a random walk.

    P- = P + Q dt, K = P- / (P- + v): an uncertain sample counts little and a missing one nothing, so no
    gate is needed. A sample of unknown variance counts as missing.
    """

    process_variance: Array | float

    def gain(self, state: State, sample: Sample) -> tuple[Array | float, Array, State]:
        """See `FilterUpdate.gain`."""
        prior = state.variance + self.process_variance * sample.elapsed
        total = prior + sample.variance
        held = ~(sample.present & (sample.variance >= 0))
        gain = np.divide(prior, total, out=np.ones(total.shape), where=total > 0)
        return gain, held, replace(state, variance=prior)


@dataclass(frozen=True)
class OneEuroUpdate:
    """A low-pass filter whose cutoff rises with speed; blind to the variance.

    f_c = min_cutoff + beta |speed|, K = 1 / (1 + rate / (2 pi f_c)); the speed is low-passed at
    `derivative_cutoff`.

    Source: Casiez, Roussel & Vogel 2012, algorithm 1; the speed is taken from the previous filtered value, as in the
    authors' package OneEuroFilter.
    """

    min_cutoff: Array | float = 1.0
    beta: Array | float = 0.0
    derivative_cutoff: Array | float = 1.0
    frame_rate: Array | float = 30.0
    process_variance: Array | float = 0.0

    def gain(self, state: State, sample: Sample) -> tuple[Array | float, Array, State]:
        """See `FilterUpdate.gain`."""
        known = np.where(np.isnan(state.rate), self.frame_rate, state.rate)
        moved = state.started & (state.age > 0)
        rate = np.divide(1.0, state.age, out=known, where=moved)
        raw = np.where(state.started, (sample.mean - state.mean) * rate, 0.0)
        smooth = np.where(state.started, low_pass_gain(self.derivative_cutoff, rate), 1.0)
        speed = state.speed + smooth * (raw - state.speed)
        gain = low_pass_gain(self.min_cutoff + self.beta * np.abs(speed), rate)
        seen = sample.present
        after = replace(state, speed=np.where(seen, speed, state.speed), rate=np.where(seen, rate, state.rate))
        return gain, ~seen, after


def filter_update(name: str, parameter: Callable[[str], Any]) -> FilterUpdate:
    """The filter of an option's name; `none` takes every sample as it is.

    Args:
        name: ema, soft_ema, kalman, one_euro or none.
        parameter: gives an option of `StabilizerConfig` by its name, as an array that broadcasts to the state's shape.

    Raises:
        ConfigError: for an unknown name or a parameter out of range.
    """
    growth = parameter("process_variance")
    if name == "none":
        return EmaUpdate(1.0, np.inf, growth)
    if name in ("ema", "soft_ema"):
        alpha, threshold, tau = (parameter(each) for each in ("alpha", "uncertainty_threshold", "time_constant"))
        return EmaUpdate(alpha, threshold, growth, tau, name == "soft_ema")
    if name == "kalman":
        return KalmanUpdate(growth)
    if name == "one_euro":
        at_rest, rise, of_speed = (parameter(each) for each in ("min_cutoff", "beta", "derivative_cutoff"))
        return OneEuroUpdate(at_rest, rise, of_speed, parameter("frame_rate"), growth)
    raise ConfigError(f"unknown filter {name!r}; known: {', '.join(FILTERS)}")


def low_pass_gain(cutoff: Array | float, rate: Array | float) -> Array | float:
    """Weight of the new sample in a first-order low pass; cutoff and rate in Hz."""
    return 1 / (1 + rate / (2 * np.pi * cutoff))


def advance(
    update: FilterUpdate, state: State, mean: Array, variance: Array, elapsed: Array | float
) -> tuple[State, Array]:
    """One frame further.

    The level moves by K (x - s). Its variance becomes K^2 v + (1 - K)^2 P (independent noise; for the
    Kalman gain this is (1 - K) P), and where the sample is held P grows by the process variance of the time
    elapsed while the level stays as it was.

    Args:
        update: the filter.
        state: after the frame before.
        mean: the sample, NaN where there is none; broadcasts to the state's shape.
        variance: its variance, NaN where unknown.
        elapsed: seconds since the frame before.

    Returns:
        The state after the frame, and where the sample was held.
    """
    present = np.isfinite(mean)
    sample = Sample(np.where(present, mean, 0.0), np.where(variance >= 0, variance, np.nan), present, elapsed)
    aged = replace(state, age=state.age + elapsed)
    gain, held, prior = update.gain(aged, sample)
    held = np.broadcast_to(held, state.mean.shape)
    gain = np.where(held, 0.0, np.where(state.started, gain, 1.0))
    level = state.mean + gain * (sample.mean - state.mean)
    spread = gain**2 * sample.variance + (1 - gain) ** 2 * prior.variance
    spread = np.where(np.isnan(prior.variance), sample.variance, spread)
    spread = np.where(held, state.variance + update.process_variance * elapsed, spread)
    after = replace(
        prior,
        mean=level,
        variance=spread,
        age=np.where(held, aged.age, 0.0),
        started=state.started | ~held,
        gain=gain,
    )
    return after, held
