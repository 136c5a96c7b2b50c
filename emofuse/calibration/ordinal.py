"""Means for labels that take few values: the chance of each value by a cumulative logit, and its median or mean.

The answer with the least absolute error is the conditional median, which lies on the labels' own lattice; no
line or curve through such labels reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, logit

from emofuse.calibration import files
from emofuse.errors import DataError

MOST_VALUES = 12
"""More distinct labels than these are no lattice."""
ROWS_PER_VALUE = 10
"""Minimum rows, on average, of each value."""
DECIMALS = 5
"""Labels that agree to so many decimals are one value: they may have passed through float32."""


def lattice(labels: ArrayLike) -> np.ndarray | None:
    """The values that the labels of an axis (N,) take, ascending; None where these are not few over many rows."""
    y = np.asarray(labels, dtype=np.float64)
    values = np.unique(np.round(y[np.isfinite(y)], DECIMALS))
    few = 3 <= len(values) <= MOST_VALUES and np.isfinite(y).sum() >= ROWS_PER_VALUE * len(values)
    return values if few else None


@dataclass(frozen=True, eq=False)
class CumulativeLogit:
    """`P(y <= value_k) = 1 / (1 + exp(-(threshold_k - slopes' z)))`, z the standardised outputs of an expert.

    Attributes:
        values: (K,), the lattice, ascending.
        thresholds: (K - 1,), ascending.
        slopes: (2,), of standardised valence and arousal.
        centre: (2,), means of the outputs.
        spread: (2,), their standard deviations.

    Source: McCullagh 1980, the proportional-odds model.
    """

    values: np.ndarray
    thresholds: np.ndarray
    slopes: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, truth: np.ndarray, mean: np.ndarray, l2: float = 0.0) -> CumulativeLogit:
        """The likeliest, with the penalty `l2 |slopes|^2` per row, which draws it to one answer for all.

        Args:
            truth: (N,), labels on a lattice.
            mean: (N, 2), the expert's outputs.
            l2: 0 or more, in nats.

        Raises:
            DataError: if the labels take fewer than three values or more than twelve, or rows are few.
        """
        values = lattice(truth)
        if values is None:
            raise DataError(
                f"an ordinal calibration needs labels of 3 to {MOST_VALUES} values with {ROWS_PER_VALUE} rows each; "
                f"got {len(np.unique(truth))} values in {len(truth)} rows"
            )
        centre, spread = mean.mean(axis=0), mean.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        level = np.searchsorted(values, np.round(truth, DECIMALS))
        thresholds, slopes = _likeliest((mean - centre) / spread, level, len(values), l2)
        return cls(values, thresholds, slopes, centre, spread)

    def probabilities(self, mean: np.ndarray) -> np.ndarray:
        """The chance of each value, (N, K), for outputs (N, 2)."""
        below = expit(self.thresholds - (((mean - self.centre) / self.spread) @ self.slopes)[:, None])
        return np.diff(below, axis=1, prepend=0.0, append=1.0)

    def answer(self, mean: np.ndarray, *, median: bool) -> tuple[np.ndarray, np.ndarray]:
        """Medians on the lattice, or means, (N,), and the mean squared distance of the truth from them, (N,)."""
        chance = self.probabilities(mean)
        expected = chance @ self.values
        # The tiny step lets a cumulative chance of one half, met but for rounding, count as met.
        at = (np.cumsum(chance, axis=1) < 0.5 - 1e-12).sum(axis=1)
        given = self.values[at] if median else expected
        return given, (chance * (self.values - given[:, None]) ** 2).sum(axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {name: getattr(self, name) for name in ("values", "thresholds", "slopes", "centre", "spread")}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> CumulativeLogit:
        """The inverse of `to_dict`."""
        names = ("values", "thresholds", "slopes", "centre", "spread")
        return cls(*(files.numbers(content[name]) for name in names))


def _likeliest(features: np.ndarray, level: np.ndarray, count: int, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds (count - 1,) and slopes (p,) of the cumulative logit for levels 0 to count - 1."""
    share = np.cumsum(np.bincount(level, minlength=count) / len(level))[:-1]
    first = logit(share)
    # The first threshold and the logarithms of the steps between them: so they stay in order.
    start = np.concatenate([first[:1], np.log(np.diff(first)), np.zeros(features.shape[1])])
    found = minimize(
        _negative_log_likelihood,
        start,
        (features, level, count, l2),
        "L-BFGS-B",
        jac=True,
        options={"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-7},
    )
    return _thresholds(found.x, count), found.x[count - 1 :]


def _thresholds(theta: np.ndarray, count: int) -> np.ndarray:
    return np.cumsum(np.concatenate([theta[:1], np.exp(theta[1 : count - 1])]))


def _negative_log_likelihood(
    theta: np.ndarray, features: np.ndarray, level: np.ndarray, count: int, l2: float
) -> tuple[float, np.ndarray]:
    """Mean over rows, with the penalty, and its gradient."""
    slopes, rows = theta[count - 1 :], len(level)
    edges = np.concatenate([[-np.inf], _thresholds(theta, count), [np.inf]])
    place = features @ slopes
    above, below = expit(edges[level + 1] - place), expit(edges[level] - place)
    chance = np.maximum(above - below, 1e-15)
    upper, lower = above * (1 - above) / chance, below * (1 - below) / chance
    value = -np.log(chance).mean() + l2 * (slopes**2).sum()
    # Of a threshold: rows whose upper edge it is, less rows whose lower edge it is.
    edge = np.bincount(level + 1, -upper, count + 1) + np.bincount(level, lower, count + 1)
    of_step = np.cumsum(edge[count - 1 : 0 : -1])[::-1] / rows
    of_step[1:] *= np.exp(theta[1 : count - 1])
    return float(value), np.concatenate([of_step, features.T @ (upper - lower) / rows + 2 * l2 * slopes])


@dataclass(frozen=True, eq=False)
class OrdinalCalibration:
    """Medians or means of the labels' conditional distribution given both outputs, and its variance.

    Attributes:
        axes: valence's and arousal's logit; None leaves that axis as it is.
        median: whether medians are given (least absolute error), else means (least squared error).
    """

    axes: tuple[CumulativeLogit | None, CumulativeLogit | None]
    median: bool

    kind = "ordinal"

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """Calibrated means (..., 2), and if variances are given, those of the conditional distribution.

        The expert's own variances play no part in them: they are known wherever both outputs are.
        """
        m = np.asarray(mean, dtype=np.float64)
        rows = m.reshape(-1, 2)
        whole = np.asarray(np.isfinite(rows).all(axis=1))
        moved = np.where(whole[:, None], rows, np.nan)
        spread = np.full_like(rows, np.nan) if variance is None else np.array(variance, np.float64).reshape(-1, 2)
        for axis, fitted in enumerate(self.axes):
            if fitted is not None:
                spread[:, axis] = np.nan
                moved[whole, axis], spread[whole, axis] = fitted.answer(rows[whole], median=self.median)
        return moved.reshape(m.shape) if variance is None else (moved.reshape(m.shape), spread.reshape(m.shape))

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        axes = [None if each is None else each.to_dict() for each in self.axes]
        return {"kind": self.kind, "median": self.median, "axes": axes}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> OrdinalCalibration:
        """The inverse of `to_dict`."""
        first, second = (None if each is None else CumulativeLogit.from_dict(each) for each in content["axes"])
        return cls((first, second), bool(content["median"]))
