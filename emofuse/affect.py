"""The one value everything passes around: an estimate of valence and arousal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

AXES = ("valence", "arousal")
"""The axes in the order of every last axis of size 2."""
VARIANCE_FLOOR = 1e-4
"""Minimum variance a weight is made of, reference units squared (a standard deviation of .01)."""


@dataclass(frozen=True, eq=False)
class Affect:
    """Estimates of valence and arousal on the reference scale [-1, 1].

    Attributes:
        mean: float64, shape (..., 2) for both axes or any shape for one; NaN where not valid.
        variance: sigma squared in reference units squared, the shape of `mean`; NaN = unknown.
        valid: bool, the shape of `mean`; whether there is a prediction at all.
    """

    mean: np.ndarray
    variance: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, mean: ArrayLike, variance: ArrayLike | None = None, valid: ArrayLike | None = None) -> Affect:
        """An `Affect` from arrays that broadcast to the shape of `mean`.

        Args:
            mean: the estimates; a NaN is never valid.
            variance: their variances; None, NaN, infinite, zero or negative become NaN (unknown).
            valid: where there is a prediction; by default wherever the mean is finite.

        Raises:
            ValueError: if a shape does not broadcast to that of `mean`.
        """
        m = np.asarray(mean, dtype=np.float64)
        v = np.broadcast_to(np.nan if variance is None else np.asarray(variance, dtype=np.float64), m.shape)
        ok = (
            np.isfinite(m)
            if valid is None
            else np.broadcast_to(np.asarray(valid, dtype=bool), m.shape) & np.isfinite(m)
        )
        known = ok & np.isfinite(v) & (v > 0)
        return cls(np.where(ok, m, np.nan), np.where(known, v, np.nan), ok)

    @classmethod
    def missing(cls, shape: tuple[int, ...] = (2,)) -> Affect:
        """No prediction, of the given shape."""
        return cls.of(np.full(shape, np.nan))

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, index: object) -> Affect:
        return Affect(self.mean[index], self.variance[index], self.valid[index])  # type: ignore[index, call-overload]

    @property
    def valence(self) -> np.ndarray:
        """The mean on the valence axis, reference scale."""
        return self.mean[..., 0]

    @property
    def arousal(self) -> np.ndarray:
        """The mean on the arousal axis, reference scale."""
        return self.mean[..., 1]
