"""Stability and responsiveness of a series: jitter, noise, held frames, lag and response time.

Series are (T,) for one axis or (T, 2) for both, one value per frame; NaN marks a frame without a value. There is
no agreed standard for valence and arousal, so every definition is stated. A frozen output has no jitter: compare
filters at equal lag, and show the error after smoothing beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import Affect
from emofuse.metrics.accuracy import pearson
from emofuse.metrics.axes import Metric, columns

SETTLED = 200


@runtime_checkable
class Stabilizer(Protocol):
    """A filter that takes one frame at a time."""

    def update(self, mean: np.ndarray, variance: np.ndarray, timestamp: float | None = None) -> Affect:
        """The filtered estimate after this frame, arrays of shape (2,)."""
        ...


def jitter(series: ArrayLike) -> Metric:
    """Mean absolute step per frame, mean |s_t - s_(t-1)|, over neighbours that both have a value; state the fps."""
    return _per_axis(lambda s: _mean(np.abs(_steps(s))), series)


def rms_jitter(series: ArrayLike) -> Metric:
    """Root mean squared step per frame, over neighbours that both have a value."""
    return _per_axis(lambda s: np.sqrt(_mean(np.square(_steps(s)))), series)


def noise_variance(series: ArrayLike) -> Metric:
    """Variance of white noise on a slow signal, mean (s_t - s_(t-1))² / 2: slow drift cancels.

    Source: von Neumann et al. 1941, the mean square successive difference.
    """
    return _per_axis(lambda s: _mean(np.square(_steps(s))) / 2, series)


def window_variance(series: ArrayLike, window: int = 30) -> Metric:
    """Mean unbiased variance within all windows of that many frames; NaN where no window is complete.

    It mixes signal and noise, and is lowest for an output that does not follow: report it, don't optimise it.

    Raises:
        ValueError: if `window` is below 2.
    """
    if window < 2:
        raise ValueError(f"expected a window of at least 2 frames; got {window}")

    def one(s: np.ndarray) -> float:
        if len(s) < window:
            return np.nan
        variances = np.lib.stride_tricks.sliding_window_view(s, window).var(axis=1, ddof=1)
        return _mean(variances[np.isfinite(variances)])

    return _per_axis(one, series)


def jitter_reduction(before: ArrayLike, after: ArrayLike) -> Metric:
    """1 - jitter(after) / jitter(before), over the frames that both have; NaN where there was no jitter.

    0 for no change, 1 for a frozen output, negative where jitter grew.
    """
    raw, smooth = columns(before, after)
    both = np.isfinite(raw) & np.isfinite(smooth)
    was, now = jitter(np.where(both, raw, np.nan)), jitter(np.where(both, smooth, np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        reduction = np.where(np.asarray(was) > 0, 1 - np.divide(now, was), np.nan)
    return reduction if raw.ndim == 2 else float(reduction)


def hold_rate(held: ArrayLike) -> Metric:
    """Share of frames that were held, of booleans (T,) or (T, 2); NaN frames count neither way."""
    return _per_axis(lambda h: _mean(h[np.isfinite(h)]), held)


def lag(reference: ArrayLike, series: ArrayLike, max_lag: int = 30) -> Metric:
    """Frames by which `series` runs behind `reference`: the shift with the highest Pearson correlation.

    The peak is flat, so read it as ± 1 frame; `response_time` is the sharper measure. Ties go to the smaller shift.

    Args:
        reference: the unfiltered series or the truth.
        series: the filtered one.
        max_lag: shifts from -max_lag to max_lag are tried, those that leave at least half the frames.

    Returns:
        Positive where `series` is late; NaN where no correlation is defined.
    """
    x, s = columns(reference, series)
    if x.ndim == 2:
        return np.array([lag(x[:, i], s[:, i], max_lag) for i in (0, 1)])
    widest = min(max_lag, len(x) // 2)
    shifts = sorted(range(-widest, widest + 1), key=abs)
    values = [pearson(x[max(0, -k) : len(x) - max(0, k)], s[max(0, k) : len(s) + min(0, k)]) for k in shifts]
    known = np.where(np.isfinite(values), values, -np.inf)
    return float(shifts[int(np.argmax(known))]) if np.isfinite(known).any() else np.nan


def response_time(
    source: Stabilizer | ArrayLike, start: int | None = None, *, low: float = 0.0, high: float = 1.0, share: float = 0.9
) -> Metric:
    """Frames until a step is followed to `share` of its height, the first frame of the step counting as 1.

    Args:
        source: a fresh filter, which is then driven through a step (`step_response`), or a filtered series (T,) or
            (T, 2) of one.
        start: of a series, the index of the first frame of the new level; by default 1.
        low: level before the step.
        high: level after it; below `low` for a step down.
        share: within (0, 1].

    Returns:
        Frames, infinite where the level is not reached; for a filter, of both axes.

    Raises:
        ValueError: if `high` equals `low`, or `share` is outside (0, 1].
    """
    if high == low or not 0 < share <= 1:
        raise ValueError(f"expected a step and a share within (0, 1]; got {low} to {high} and {share}")
    if isinstance(source, Stabilizer):
        return response_time(step_response(source, low=low, high=high), SETTLED, low=low, high=high, share=share)
    first = 1 if start is None else start

    def one(s: np.ndarray) -> float:
        # The last digit must not decide whether nine tenths are reached.
        reached = np.flatnonzero((s[first:] - low) / (high - low) >= share - 1e-12)
        return float(reached[0] + 1) if len(reached) else np.inf

    return _per_axis(one, source)


def frame_rate(times: Iterable[np.ndarray], otherwise: float) -> float:
    """The median rate of frames, Hz.

    Args:
        times: of each sequence its timestamps, seconds; NaN where unknown.
        otherwise: where no step of time is known.
    """
    steps = np.concatenate([np.empty(0), *map(np.diff, times)])
    steps = steps[np.isfinite(steps) & (steps > 0)]
    return float(1 / np.median(steps)) if len(steps) else otherwise


def step_response(
    stabilizer: Stabilizer,
    *,
    low: float = 0.0,
    high: float = 1.0,
    variance: ArrayLike = 0.05,
    fps: float = 30.0,
    settle: int = SETTLED,
    frames: int = 300,
) -> np.ndarray:
    """A filter's output while both axes step from `low` to `high`.

    Args:
        stabilizer: a fresh filter; its state changes.
        low: level of the first `settle` frames.
        high: level of the `frames` after them.
        variance: of every measurement, one for both axes or one for each; a gate must let it pass, and a Kalman
            filter's speed depends on it.
        fps: frames per second of the timestamps.
        settle: frames before the step.
        frames: frames after it.

    Returns:
        The means, shape (settle + frames, 2).
    """
    levels = np.repeat([low, high], [settle, frames])
    spread = np.broadcast_to(np.asarray(variance, np.float64), (2,))
    return np.array([stabilizer.update(np.full(2, x), spread, i / fps).mean for i, x in enumerate(levels)])


def _per_axis(function: Callable[[np.ndarray], float], series: ArrayLike) -> Metric:
    (values,) = columns(series)
    if values.ndim == 1:
        return float(function(values))
    return np.array([function(values[:, i]) for i in (0, 1)], dtype=np.float64)


def _steps(series: np.ndarray) -> np.ndarray:
    steps = np.diff(series)
    return steps[np.isfinite(steps)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
