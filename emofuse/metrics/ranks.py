"""Spearman's correlation of resamples without sorting each of them."""

from __future__ import annotations

import numpy as np


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
        self._sides = [_Ties(truth), _Ties(mean)]

    def correlations(self, counts: np.ndarray) -> np.ndarray:
        """The correlation under each row of `counts` (r, groups): shape (r,); NaN where one side is constant."""
        weights = counts[:, self._group]
        n = weights.sum(axis=1)
        (y_rank, y_square), (m_rank, m_square) = (side.ranks(weights) for side in self._sides)
        centre = (n + 1) / 2
        y_rank -= centre[:, None]
        m_rank -= centre[:, None]
        together = np.einsum("rn,rn,rn->r", weights, y_rank, m_rank)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Sums of squares of half-integers: exactly zero where a side is constant.
            below = np.sqrt(y_square) * np.sqrt(m_square)
            return np.where(below > 0, np.clip(together / below, -1, 1), np.nan)


class _Ties:
    def __init__(self, values: np.ndarray) -> None:
        self._order = np.argsort(values, kind="stable")
        _, self._tie, size = np.unique(values, return_inverse=True, return_counts=True)
        self._starts = np.concatenate([[0], np.cumsum(size)[:-1]])

    def ranks(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean ranks of the rows, (r, n), and their summed squared deviation from the mean rank, (r,)."""
        size = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        rank = np.cumsum(size, axis=1) - (size - 1) / 2
        centre = (size.sum(axis=1, keepdims=True) + 1) / 2
        return rank[:, self._tie], np.sum(size * np.square(rank - centre), axis=1)
