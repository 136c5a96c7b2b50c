"""Smoothing a sequence: gated EMA, local-level Kalman, One-Euro.

One frame at a time (`GatedEma`, `LocalLevelKalman`, `OneEuro`), one sequence (`smooth`), or
configurations x sequences x frames at once (`run_ema`, `run_kalman`, `run_one_euro`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import Affect
from emofuse.config import StabilizerConfig
from emofuse.errors import ConfigError
from emofuse.stabilizer.autocorrelation import Autocorrelation
from emofuse.stabilizer.likelihood import fit_process_variance
from emofuse.stabilizer.residuals import fit_autocorrelation, fit_level_variance
from emofuse.stabilizer.steps import GatedEma, LocalLevelKalman, OneEuro, Stabilizer, Timing, Window
from emofuse.stabilizer.sweeps import Frame, Sequences, Smooth, run, run_ema, run_kalman, run_one_euro

FILTERS = ("ema", "soft_ema", "kalman", "one_euro", "none")

__all__ = [
    "FILTERS",
    "Autocorrelation",
    "Frame",
    "GatedEma",
    "LocalLevelKalman",
    "OneEuro",
    "Sequences",
    "Smooth",
    "Stabilizer",
    "Timing",
    "Window",
    "autocorrelation_of",
    "fit_autocorrelation",
    "fit_level_variance",
    "fit_process_variance",
    "make_stabilizer",
    "run",
    "run_ema",
    "run_kalman",
    "run_one_euro",
    "smooth",
]


def make_stabilizer(config: StabilizerConfig) -> Stabilizer | None:
    """The step form of the configured filter; None for `none`.

    Raises:
        ConfigError: for an unknown filter or a parameter out of range.
    """
    timing, errors = Timing(config.frame_rate, config.max_gap, config.max_hold), autocorrelation_of(config)
    if config.filter == "none":
        return None
    if config.filter in ("ema", "soft_ema"):
        return GatedEma(
            config.alpha,
            np.asarray(config.uncertainty_threshold),
            config.window,
            soft=config.filter == "soft_ema",
            time_constant=config.time_constant,
            process_variance=np.asarray(config.process_variance),
            timing=timing,
            autocorrelation=errors,
        )
    if config.filter == "kalman":
        return LocalLevelKalman(
            np.asarray(config.process_variance), window=config.window, timing=timing, autocorrelation=errors
        )
    if config.filter == "one_euro":
        return OneEuro(
            config.min_cutoff,
            config.beta,
            config.derivative_cutoff,
            config.window,
            process_variance=np.asarray(config.process_variance),
            timing=timing,
            autocorrelation=errors,
        )
    raise ConfigError(f"unknown filter {config.filter!r}; known: {', '.join(FILTERS)}")


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
    timing = stabilizer.timing
    times = None if timestamp is None else np.asarray(timestamp)[None]
    sequences = Sequences.of(np.asarray(mean)[None], np.asarray(variance)[None], times, timing=timing)
    result = Smooth.gather(
        run(stabilizer.filter_update, sequences, 1, timing=timing, autocorrelation=stabilizer.autocorrelation)
    )
    return Affect(result.mean[0, 0], result.variance[0, 0], result.valid[0, 0]), result.held[0, 0]


def autocorrelation_of(config: StabilizerConfig) -> Autocorrelation | None:
    """That of the samples' errors, as configured; None where it is not known.

    Raises:
        ConfigError: if it is out of range.
    """
    if config.autocorrelation is None:
        return None
    level = None if config.level_variance is None else np.asarray(config.level_variance)
    return Autocorrelation(np.asarray(config.autocorrelation), np.asarray(config.autocorrelated_share), level)
