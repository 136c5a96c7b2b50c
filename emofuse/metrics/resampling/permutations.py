"""Exchanging two predictors within whole groups: all ways or many drawn ones, and what share is as extreme."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

_CHUNK_ENTRIES = 2_000_000


def sign_flips(groups: int, resamples: int, rng: np.random.Generator) -> tuple[bool, Iterator[np.ndarray]]:
    """Which groups change places, in chunks of bounded size.

    Args:
        groups: how many there are.
        resamples: all 2^groups ways are given where they are no more than this, else so many random ones.
        rng: draws them.

    Returns:
        Whether these are all ways, and an iterator of float64 arrays (r, groups) of 0 and 1.
    """
    exact = groups < 63 and 2**groups <= resamples
    return exact, _sign_flips(groups, 2**groups if exact else resamples, None if exact else rng)


def p_values(observed: np.ndarray, swapped: Iterable[np.ndarray], *, exact: bool) -> np.ndarray:
    """Two-sided p: the share of sign_flips whose difference is as far from zero as the observed one, or farther.

    Args:
        observed: differences, shape (K,).
        swapped: differences under sign_flips, arrays (r, K).
        exact: whether the sign_flips are all there are; else the observed order counts as one more.

    Returns:
        Shape (K,); NaN where the observed difference is undefined.
    """
    hits, tried = np.zeros(len(observed)), 0
    for differences in swapped:
        # Equal differences summed in another order part in their last digits; they are ties all the same.
        hits += np.sum(np.abs(differences) >= np.abs(observed) - 1e-12, axis=0)
        tried += len(differences)
    return np.where(np.isfinite(observed), hits / tried if exact else (hits + 1) / (tried + 1), np.nan)


def _sign_flips(groups: int, ways: int, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK_ENTRIES // max(groups, 1))
    for start in range(0, ways, step):
        count = min(step, ways - start)
        if rng is None:
            yield ((np.arange(start, start + count)[:, None] >> np.arange(groups)) & 1).astype(np.float64)
        else:
            yield rng.integers(0, 2, (count, groups)).astype(np.float64)
