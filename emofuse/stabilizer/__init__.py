"""Smoothing a sequence: gated EMA, local-level Kalman, One-Euro.

One frame at a time (`make_stabilizer`), one sequence (`smooth`), or configurations x sequences x frames at once
(`run`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import Affect
from emofuse.config import StabilizerConfig
from emofuse.stabilizer.autocorrelation import Autocorrelation
from emofuse.stabilizer.likelihood import fit_process_variance
from emofuse.stabilizer.residuals import fit_autocorrelation, fit_level_variance
from emofuse.stabilizer.steps import Stabilizer, Timing, Window
from emofuse.stabilizer.sweeps import Frame, Sequences, run
from emofuse.stabilizer.updates import filter_update

__all__ = [
    "Autocorrelation",
    "Frame",
    "Sequences",
    "Stabilizer",
    "Timing",
    "Window",
    "filter_update",
    "fit_autocorrelation",
    "fit_level_variance",
    "fit_process_variance",
    "make_stabilizer",
    "run",
    "smooth",
]


def make_stabilizer(config: StabilizerConfig) -> Stabilizer | None:
    """The step form of the configured filter; None for `none`.

    Raises:
        ConfigError: for an unknown filter or a parameter out of range.

    >>> stabilizer = make_stabilizer(StabilizerConfig(alpha=0.7, uncertainty_threshold=0.4))
    >>> frames = [([0.2, 0.2], [0.05, 0.05]), ([0.9, 0.3], [0.6, 0.05])]
    >>> [stabilizer.update(mean, variance).mean.round(2).tolist() for mean, variance in frames]
    [[0.2, 0.2], [0.2, 0.27]]
    """
    timing, errors = Timing(config.frame_rate, config.max_gap, config.max_hold), _autocorrelation(config)
    if config.filter == "none":
        return None
    return Stabilizer(filter_update(config.filter, lambda name: _array(getattr(config, name))), timing, errors)


def smooth(
    mean: ArrayLike, variance: ArrayLike, timestamp: ArrayLike | None, config: StabilizerConfig
) -> tuple[Affect, np.ndarray]:
    """One sequence, in the order of its frames, under the configured filter.

    Args:
        mean: (T, 2), reference scale; NaN = no sample.
        variance: (T, 2), reference units squared; NaN = unknown.
        timestamp: (T,) seconds, NaN in places or None altogether for frames at `config.frame_rate`.
        config: the filter.

    Returns:
        The smoothed estimates (T, 2), and where the sample was held (T, 2).

    Raises:
        ConfigError: for an unknown filter or a parameter out of range.
    """
    raw = Affect.of(mean, variance)
    stabilizer = make_stabilizer(config)
    if stabilizer is None or not len(raw):
        return raw, np.zeros(raw.mean.shape, dtype=bool)
    timing, errors = stabilizer.timing, stabilizer.autocorrelation
    times = None if timestamp is None else np.asarray(timestamp)[None]
    sequences = Sequences.of(np.asarray(mean)[None], np.asarray(variance)[None], times, timing=timing)
    frames = list(run(stabilizer.filter_update, sequences, 1, timing=timing, autocorrelation=errors))
    level, spread, valid, held = (
        np.stack([getattr(frame, name)[0, 0] for frame in frames]) for name in ("mean", "variance", "valid", "held")
    )
    return Affect.of(level, spread, valid), held


def _autocorrelation(config: StabilizerConfig) -> Autocorrelation | None:
    if config.autocorrelation is None:
        return None
    parts = (config.autocorrelation, config.autocorrelated_share, config.level_variance)
    return Autocorrelation(*map(_array, parts))


def _array(value: float | tuple[float, float] | None) -> Any:
    return None if value is None else np.asarray(value, dtype=np.float64)
