"""What labelled sequences tell of an estimator's errors and of the truth: how long they last, how far it moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emofuse.errors import DataError
from emofuse.stabilizer.autocorrelation import Autocorrelation
from emofuse.stabilizer.sweeps import elapsed_seconds

Array = np.ndarray

LONGEST_LAG = 64
"""Frames up to which errors are compared with one another; 1, 2, 4, ... of them apart."""
PSEUDO_PAIRS = 20.0
"""Pairs of equal errors that are added at each distance: with few frames, ignorance is not independence."""
TIMES = np.logspace(-3, 4, 281)
"""Correlation times that are tried, seconds; 40 a decade, so a time is found within 6 %."""


def fit_autocorrelation(
    residual: Array, variance: Array, timestamp: Array, rows: Sequence[Array], frame_rate: float = 30.0
) -> Autocorrelation | None:
    """How lasting the errors of an estimator are, from labelled sequences that it was not fitted on.

    The products z_t z_(t+k) of standardised residuals, k = 1, 2, 4, ... frames apart within a sequence, are gathered
    by the time between them and divided by the mean of z²: the residuals' mean is not taken off, for an error that
    lasts a whole sequence is an error too. To these correlations share · per_second ** d is fitted by least squares,
    weighted by the pairs. At each distance `PSEUDO_PAIRS` pairs of equal errors are added.

    Args:
        residual: (N, 2), estimate minus label, reference units; NaN where either is missing.
        variance: (N, 2), as announced for single frames; NaN = unknown, such frames are left out.
        timestamp: (N,) seconds, NaN where unknown.
        rows: of each sequence its rows, in order.
        frame_rate: Hz, of frames without timestamps.

    Returns:
        Per axis; an axis without labelled neighbours counts as lasting for ever. None where neither has any.

    Raises:
        DataError: if the arrays do not belong together.
    """
    if residual.shape != variance.shape or residual.shape != (len(timestamp), 2):
        raise DataError(
            f"expected residual and variance (N, 2) and timestamp (N,); got {residual.shape}, {variance.shape} "
            f"and {timestamp.shape}"
        )
    standard = residual / np.sqrt(np.where(variance > 0, variance, np.nan))
    clocks = _clocks(timestamp, rows, frame_rate)
    found = [_fit_axis([standard[mine, axis] for mine in rows], clocks) for axis in (0, 1)]
    if all(each is None for each in found):
        return None
    pairs = np.array([(1.0, 1.0) if each is None else each for each in found])
    return Autocorrelation(pairs[:, 0], pairs[:, 1])


def fit_level_variance(truth: Array, timestamp: Array, rows: Sequence[Array], frame_rate: float = 30.0) -> Array | None:
    """How far the truth moves in a second, from the labels of sequences.

    The mean square step over the time it took, at 1, 2, 4, ... frames apart; of these distances the one where it is
    greatest, for a label may move smoothly, and a filter's lag spans many frames.

    Args:
        truth: (N, 2), reference scale; NaN where there is no label.
        timestamp: (N,) seconds, NaN where unknown.
        rows: of each sequence its rows, in order.
        frame_rate: Hz, of frames without timestamps.

    Returns:
        (2,), reference units squared per second; None where an axis has too few labelled neighbours.
    """
    clocks = _clocks(timestamp, rows, frame_rate)
    found = []
    for axis in (0, 1):
        apart, earlier, later = _pairs([truth[mine, axis] for mine in rows], clocks)
        if len(apart) < PSEUDO_PAIRS:
            return None
        bins, count = _distances(apart)
        rate = np.bincount(bins, (later - earlier) ** 2) / np.bincount(bins, apart)
        found.append(float(rate[count >= min(PSEUDO_PAIRS, count.max())].max()))
    return np.array(found)


def _clocks(timestamp: Array, rows: Sequence[Array], frame_rate: float) -> list[Array]:
    """Seconds since the first frame, of each sequence."""
    return [np.cumsum(elapsed_seconds(timestamp[None, mine], frame_rate)) for mine in rows]


def _fit_axis(series: list[Array], clocks: list[Array]) -> tuple[float, float] | None:
    apart, earlier, later = _pairs(series, clocks)
    square = np.concatenate([each[np.isfinite(each)] ** 2 for each in series]) if series else np.empty(0)
    if not len(apart) or not square.mean() > 0:
        return None
    bins, count = _distances(apart)
    distance = np.bincount(bins, apart) / count
    correlation = np.bincount(bins, earlier * later) / count / square.mean()
    correlation = (count * correlation + PSEUDO_PAIRS) / (count + PSEUDO_PAIRS)
    decay = np.exp(-distance / TIMES[:, None])
    share = np.clip((count * correlation * decay).sum(axis=1) / (count * decay**2).sum(axis=1), 0, 1)
    loss = (count * (correlation - share[:, None] * decay) ** 2).sum(axis=1)
    best = int(loss.argmin())
    return float(np.exp(-1 / TIMES[best])), float(share[best])


def _pairs(series: list[Array], clocks: list[Array]) -> Array:
    """Pairs of values 1, 2, 4, ... frames apart, (3, pairs): seconds apart, the earlier and the later value."""
    found = [np.empty((3, 0))]
    for each, clock in zip(series, clocks, strict=True):
        lag = 1
        while lag < len(each) and lag <= LONGEST_LAG:
            pair = np.stack([clock[lag:] - clock[:-lag], each[:-lag], each[lag:]])
            found.append(pair[:, np.isfinite(pair).all(axis=0) & (pair[0] > 0)])
            lag *= 2
    return np.concatenate(found, axis=1)


def _distances(apart: Array) -> tuple[Array, Array]:
    """The half octave of time of each pair, from 0 on, and the pairs in each: uneven steps fall where they belong."""
    bins = np.unique(np.round(2 * np.log2(apart)), return_inverse=True)[1]
    return bins, np.bincount(bins)
