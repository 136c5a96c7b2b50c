"""One answer for all rows: what is left of an expert that knows nothing of an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration import files


@dataclass(frozen=True, eq=False)
class ConstantCalibration:
    """`m -> c` wherever there is an m: the median (least absolute error) or mean of the labels.

    No variance is carried over, since no error of the expert reaches the answer: all of them are pooled.

    Attributes:
        answer: (2,), c of valence and arousal.
    """

    answer: np.ndarray

    kind = "constant"

    @classmethod
    def fit(cls, truth: np.ndarray, *, median: bool) -> ConstantCalibration:
        """Fit to complete labels (N, 2)."""
        return cls(np.median(truth, axis=0) if median else truth.mean(axis=0))

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """The answer where there is a mean (..., 2), and if variances are given, unknown ones; NaN stays NaN."""
        m = np.asarray(mean, dtype=np.float64)
        moved = np.where(np.isfinite(m), self.answer, np.nan)
        return moved if variance is None else (moved, np.full_like(m, np.nan))

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"kind": self.kind, "answer": self.answer}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ConstantCalibration:
        """The inverse of `to_dict`."""
        return cls(files.numbers(content["answer"]))
