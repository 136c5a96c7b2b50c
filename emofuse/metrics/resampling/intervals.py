"""Confidence intervals from resamples: counts of a bootstrap of groups, and the BCa interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from scipy.special import ndtr, ndtri

Method = Literal["BCa", "percentile"]
_CHUNK_ENTRIES = 2_000_000
_TIE = 1e-12


def check_method(method: str) -> None:
    """Refuses what is not a `Method`.

    Raises:
        ValueError: with the methods there are.
    """
    if method not in get_args(Method):
        raise ValueError(f"expected a method among {', '.join(get_args(Method))}; got {method!r}")


def bootstrap_indices(units: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Bootstrap resamples of `units` units, in chunks of bounded size: int arrays (r, units).

    All chunks together hold what one draw of (resamples, units) would, so a chunk's size changes nothing, and
    with a fresh generator they are the resamples of `scipy.stats.bootstrap`.
    """
    step = max(1, _CHUNK_ENTRIES // max(units, 1))
    for start in range(0, resamples, step):
        yield rng.integers(0, units, (min(step, resamples - start), units))


def bootstrap_counts(units: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The same resamples as how often each unit is in them: float64 arrays (r, units)."""
    for drawn in bootstrap_indices(units, resamples, rng):
        rows = len(drawn)
        flat = (drawn + units * np.arange(rows)[:, None]).ravel()
        yield np.bincount(flat, minlength=rows * units).reshape(rows, units).astype(np.float64)


def interval(
    observed: np.ndarray,
    resampled: np.ndarray,
    jackknife: np.ndarray | None = None,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap confidence intervals, bias-corrected and accelerated where that is defined.

    Args:
        observed: the statistics, shape (K,).
        resampled: of each resample, shape (R, K); resamples in which a statistic is undefined (NaN) are left out.
        jackknife: without each unit in turn, shape (units, K); None for plain percentile intervals.
        confidence: within (0, 1), e.g. 0.95.

    Returns:
        Low and high ends, each (K,). Percentile where BCa is undefined (all resamples on one side of the observed
        value, no spread in the jackknife, a jackknife value undefined); NaN where nothing is defined.

    Raises:
        ValueError: if `confidence` is not within (0, 1).

    Source: Efron 1987; as in `scipy.stats.bootstrap`, ties with the observed value counting half.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence within (0, 1); got {confidence}")
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    for k in np.flatnonzero(np.isfinite(observed)):
        values = np.sort(resampled[np.isfinite(resampled[:, k]), k])
        if not len(values):
            continue
        levels = None if jackknife is None else _bca_levels(observed[k], values, jackknife[:, k], tails)
        low[k], high[k] = np.quantile(values, tails if levels is None else levels)
    return low, high


def _bca_levels(observed: float, values: np.ndarray, jackknife: np.ndarray, tails: np.ndarray) -> np.ndarray | None:
    # The observed value met again on another way of summing differs in its last digits; it is a tie all the same.
    lower, upper = np.searchsorted(values, [observed - _TIE, observed + _TIE])
    below = (lower + upper) / (2 * len(values))
    pull = jackknife.mean() - jackknife
    spread = np.sum(pull**2)
    # A jackknife that differs by rounding alone has no acceleration.
    if not 0 < below < 1 or not spread > len(pull) * (1e-14 * max(1.0, abs(observed))) ** 2:
        return None
    acceleration = np.sum(pull**3) / (6 * spread**1.5)
    shift = ndtri(below)
    z = shift + ndtri(tails)
    return ndtr(shift + z / (1 - acceleration * z))
