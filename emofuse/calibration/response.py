"""Variances for experts that give none, as a function of their outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from emofuse.calibration import files
from emofuse.calibration.rows import paired
from emofuse.errors import DataError

PENALTY = 1e-3
"""On the squared weights of the standardised features, in nats: shrinks the variance to a constant."""


@dataclass(frozen=True, eq=False)
class ResponseVariance:
    """`log variance = theta' [1, v, a, v², va, a²]` per axis, with the least Gaussian NLL.

    Attributes:
        centre: (5,), means of the features after the first.
        spread: (5,), their standard deviations.
        theta: (6, 2).
        limits: (2, 2), least and greatest answer of each axis, beyond which it is constant.
    """

    centre: np.ndarray
    spread: np.ndarray
    theta: np.ndarray
    limits: np.ndarray

    @classmethod
    def fit(cls, truth: ArrayLike, mean: ArrayLike, answer: ArrayLike) -> ResponseVariance:
        """Fit on rows that the means were not fitted on, or many more rows than the means have parameters.

        Args:
            truth: (N, 2), reference scale.
            mean: (N, 2), calibrated.
            answer: (N, 2), as the expert gave it; rows that lack a value are left out.

        Raises:
            DataError: if fewer than two rows are complete.
        """
        y, m = paired(truth, mean)
        x = np.asarray(answer, dtype=np.float64)
        whole = np.isfinite(y).all(axis=1) & np.isfinite(m).all(axis=1) & np.isfinite(x).all(axis=1)
        if whole.sum() < 2:
            raise DataError(f"a variance from answers needs two complete rows; got {int(whole.sum())}")
        square, features = np.maximum((y - m)[whole] ** 2, 1e-12), _features(x[whole])
        centre, spread = features.mean(axis=0), features.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        design = np.column_stack([np.ones(len(features)), (features - centre) / spread])
        theta = np.stack([_least_nll(design, square[:, axis]) for axis in (0, 1)], axis=1)
        return cls(centre, spread, theta, np.stack([x[whole].min(axis=0), x[whole].max(axis=0)]))

    def apply(self, answer: ArrayLike) -> np.ndarray:
        """Variances (..., 2) of the calibrated means for the expert's answers (..., 2); NaN where there is none."""
        x = np.clip(np.asarray(answer, dtype=np.float64), self.limits[0], self.limits[1])
        features = (_features(x.reshape(-1, 2)) - self.centre) / self.spread
        return np.exp(self.theta[0] + features @ self.theta[1:]).reshape(x.shape)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"centre": self.centre, "spread": self.spread, "theta": self.theta, "limits": self.limits}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ResponseVariance:
        """The inverse of `to_dict`."""
        return cls(*(files.numbers(content[name]) for name in ("centre", "spread", "theta", "limits")))


def _features(x: np.ndarray) -> np.ndarray:
    v, a = x[:, 0], x[:, 1]
    return np.column_stack([v, a, v * v, v * a, a * a])


def _least_nll(design: np.ndarray, square: np.ndarray) -> np.ndarray:
    def nll(theta: np.ndarray) -> tuple[float, np.ndarray]:
        ratio = square * np.exp(-design @ theta)
        value = 0.5 * np.mean(design @ theta + ratio) + PENALTY * (theta[1:] ** 2).sum()
        return float(value), 0.5 * design.T @ (1 - ratio) / len(square) + 2 * PENALTY * np.append(0, theta[1:])

    start = np.append(np.log(square.mean()), np.zeros(design.shape[1] - 1))
    return minimize(nll, start, jac=True, method="BFGS").x
