"""Spearman's correlation of resamples without sorting each of them."""

from __future__ import annotations

import numpy as np

_ENTRIES = 200_000


class RankResampler:
    """Spearman's correlation of one (truth, mean) under any counts of groups.

    A resample repeats rows, so its ranks follow from the ranks of the distinct values and the weight of each:
    one cumulative sum in the order sorted once.
    """

    def __init__(self, truth: np.ndarray, mean: np.ndarray, group: np.ndarray) -> None:
        """
        Args:
            truth: shape (n,), no NaN.
            mean: shape (n,), no NaN.
            group: int, shape (n,), the number of each row's group.
        """
        self._group = group
        self._sides = [_Ties(truth, group), _Ties(mean, group)]

    def correlations(self, counts: np.ndarray) -> np.ndarray:
        """The correlation under each row of `counts` (r, groups): shape (r,); NaN where one side is constant."""
        # Small enough for the caches: the sums below pass over the same entries several times.
        parts = np.array_split(counts, -(-len(counts) * len(self._group) // _ENTRIES) or 1)
        return np.concatenate([self._correlations(np.ascontiguousarray(part.T)) for part in parts])

    def _correlations(self, counts: np.ndarray) -> np.ndarray:
        # Resamples lie along the last axis, where gathering rows copies whole stretches.
        (y, y_square), (m, m_square) = (side.ranks(counts) for side in self._sides)
        together = np.einsum("nr,nr,nr->r", counts[self._group], y, m)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Sums of squares of half-integers: exactly zero where a side is constant.
            below = np.sqrt(y_square * m_square)
            return np.where(below > 0, np.clip(together / below, -1, 1), np.nan)


class _Ties:
    def __init__(self, values: np.ndarray, group: np.ndarray) -> None:
        self._group = group[np.argsort(values, kind="stable")]
        _, self._tie, size = np.unique(values, return_inverse=True, return_counts=True)
        self._starts = np.concatenate([[0], np.cumsum(size)[:-1]])

    def ranks(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ranks of the rows less the mean rank, (n, r), and the sum of their squares over the resample, (r,)."""
        size = np.add.reduceat(counts[self._group], self._starts, axis=0)
        rank = np.cumsum(size, axis=0)
        centre = (rank[-1] + 1) / 2
        rank -= (size - 1) / 2 + centre
        return rank[self._tie], np.einsum("nr,nr,nr->r", size, rank, rank)
