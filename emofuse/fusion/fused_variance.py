"""Fused variances: scaled until they match the squared errors, and whether they tell rows apart at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

PRIOR_ROWS = 20.0
"""Rows' worth of belief in a scale of 1."""


@dataclass(frozen=True, eq=False)
class FusedScale:
    """`v -> s² v` of a fused variance, by how many experts a row has.

    Attributes:
        one: s², (A,), rows on which a single expert has a mean.
        several: s², (A,), rows on which more have one.
        rows: (2, A), rows behind each.
    """

    one: np.ndarray
    several: np.ndarray
    rows: np.ndarray

    def apply(self, variance: ArrayLike, mean: ArrayLike) -> np.ndarray:
        """Scaled variances (..., A).

        Args:
            variance: (..., A), fused.
            mean: (K, ..., A), the experts' as they were fused.
        """
        several = np.isfinite(np.asarray(mean)).sum(axis=0) > 1
        return np.asarray(np.where(several, self.several, self.one) * np.asarray(variance, dtype=np.float64))

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"one": self.one, "several": self.several, "rows": self.rows}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FusedScale:
        """The inverse of `to_dict`."""
        one, several = (np.asarray(content[name], dtype=np.float64) for name in ("one", "several"))
        return cls(one, several, np.asarray(content["rows"], dtype=int))


def fused_variance_scale(
    truth: ArrayLike,
    fused_mean: ArrayLike,
    fused_variance: ArrayLike,
    mean: ArrayLike,
    *,
    prior_rows: float = PRIOR_ROWS,
) -> FusedScale:
    """The scale of the fused variance that makes its mean squared z 1, drawn to 1.

    Of each axis and kind of row, `s² = (n0 + sum (y - m)² / v) / (n0 + n)`: 1 without rows.

    Args:
        truth: (N, A); NaN = no label.
        fused_mean: (N, A), of rows that nothing behind it was fitted on.
        fused_variance: (N, A); unknown ones are left out.
        mean: (K, N, A), the experts' as they were fused; they tell the kind of row.
        prior_rows: n0.

    Source: std scaling, Levi et al. 2022, with n0 rows of prior weight on 1.
    """
    y, m, v = (np.asarray(each, dtype=np.float64) for each in (truth, fused_mean, fused_variance))
    known = np.isfinite(y) & np.isfinite(m) & np.isfinite(v) & (v > 0)
    square = np.where(known, y - m, 0.0) ** 2 / np.where(known, v, 1.0)
    several = np.isfinite(np.asarray(mean)).sum(axis=0) > 1
    kinds = np.stack([known & ~several, known & several])
    rows = kinds.sum(axis=1)
    scale = (prior_rows + np.where(kinds, square, 0.0).sum(axis=1)) / (prior_rows + rows)
    return FusedScale(scale[0], scale[1], rows)


def is_constant(variance: ArrayLike, *, tolerance: float = 1e-3) -> np.ndarray:
    """Whether an expert's variances are the same on every row, so that they cannot tell rows apart.

    Args:
        variance: (..., N, A), recalibrated; unknown ones are left out.
        tolerance: largest standard deviation over rows, relative to their mean, that still counts as none.

    Returns:
        bool (..., A); False where fewer than two rows have a known one.
    """
    v = np.asarray(variance, dtype=np.float64)
    known = np.isfinite(v) & (v > 0)
    count = np.maximum(known.sum(axis=-2), 1)
    centre = np.where(known, v, 0.0).sum(axis=-2) / count
    spread = np.sqrt((np.where(known, v - centre[..., None, :], 0.0) ** 2).sum(axis=-2) / count)
    return np.asarray((known.sum(axis=-2) > 1) & (spread <= tolerance * centre))
