"""Variance recalibration: variances are corrected per axis to match the squared errors.

Fitted on valid, after the means. Each layer takes rows of one axis (N,) or both (N, 2), leaves out what is
unknown, and passes NaN through; what to do about unknown variances is the bundle's part (pooled variances).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from emofuse.calibration import files
from emofuse.errors import ConfigError, DataError

MIN = 1e-4
"""Minimum variance a layer gives, reference units squared: a step of isotonic regression can be of height 0."""

Layer = TypeVar("Layer", bound="VarianceLayer")


class VarianceLayer(ABC):
    """A layer that does each axis by itself; a subclass fits and serves one."""

    kind = ""

    def __init__(self) -> None:
        self.axes: list[Any] = []
        self.one_axis = False

    def fit(self: Layer, truth: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Layer:
        """Fit on rows that were not used to fit the model; the layer itself is returned.

        Args:
            truth: (N,) or (N, 2), reference scale.
            mean: the same shape, calibrated already.
            variance: the same shape; unknown ones are left out.

        Raises:
            DataError: if an axis has fewer than two rows with everything known.
        """
        y, m, v = (np.asarray(each, dtype=np.float64) for each in (truth, mean, variance))
        if not y.shape == m.shape == v.shape or y.ndim not in (1, 2):
            raise ValueError(f"expected three arrays (N,) or (N, 2) of one shape; got {y.shape}, {m.shape}, {v.shape}")
        self.one_axis = y.ndim == 1
        columns = np.stack([y, m, v]).reshape(3, len(y), -1)
        self.axes = [self._fit_axis(*_known(*columns[:, :, axis])) for axis in range(columns.shape[2])]
        return self

    def apply(self, variance: ArrayLike) -> np.ndarray:
        """Recalibrated variances, the shape of `variance`; unknown ones become NaN."""
        if not self.axes:
            raise ConfigError(f"this {self.kind} variance layer has not been fitted")
        v = np.asarray(variance, dtype=np.float64)
        v = np.where(np.isfinite(v) & (v > 0), v, np.nan)
        if self.one_axis:
            return self._serve_axis(self.axes[0], v)
        return np.stack([self._serve_axis(each, v[..., i]) for i, each in enumerate(self.axes)], axis=-1)

    __call__ = apply

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"kind": self.kind, "one_axis": self.one_axis, "axes": [np.asarray(each).tolist() for each in self.axes]}

    @classmethod
    def from_dict(cls: type[Layer], content: dict[str, Any]) -> Layer:
        """The inverse of `to_dict`."""
        layer = cls()
        layer.one_axis = bool(content["one_axis"])
        layer.axes = [files.numbers(each) for each in content["axes"]]
        return layer

    @abstractmethod
    def _fit_axis(self, error: np.ndarray, variance: np.ndarray) -> Any:
        """What is kept for an axis, of its known rows."""

    @abstractmethod
    def _serve_axis(self, fitted: Any, variance: np.ndarray) -> np.ndarray:
        """Variances of an axis, NaN where unknown, recalibrated by what was kept."""


def _known(y: np.ndarray, m: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(y) & np.isfinite(m) & np.isfinite(v) & (v > 0)
    if known.sum() < 2:
        raise DataError(f"variance recalibration needs two rows with truth, mean and variance; got {known.sum()}")
    return (y - m)[known], v[known]


class VarianceScaling(VarianceLayer):
    """`v -> s² v` with `s² = mean((y - m)² / v)`, the closed form of the least Gaussian NLL.

    Source: Laves et al. 2020 (sigma scaling); Levi et al. 2022 (std scaling).

    >>> round(float(VarianceScaling().fit([0., 0.], [1., 3.], [1., 1.]).scale) ** 2, 6)
    5.0
    """

    kind = "scaling"

    @property
    def scale(self) -> np.ndarray:
        """s, the factor of the standard deviation: () or (2,)."""
        return np.asarray(self.axes[0]) if self.one_axis else np.array(self.axes, dtype=np.float64)

    def _fit_axis(self, error: np.ndarray, variance: np.ndarray) -> Any:
        return np.sqrt(max(np.mean(error**2 / variance), np.finfo(float).tiny))

    def _serve_axis(self, fitted: Any, variance: np.ndarray) -> np.ndarray:
        return np.asarray(fitted**2 * variance)


class AffineVariance(VarianceLayer):
    """`v -> a v + b`, a and b 0 or more, with the least Gaussian NLL.

    The floor b stands in for the noise that dropout or views cannot see. On the rows it was fitted on it is
    never worse than scaling or than one constant variance, both of which it contains.
    """

    kind = "affine"

    @property
    def parameters(self) -> np.ndarray:
        """[a, b], b in reference units squared: (2,) for one axis, (2, 2) with an axis per row for both."""
        return np.array(self.axes[0] if self.one_axis else self.axes, dtype=np.float64)

    def _fit_axis(self, error: np.ndarray, variance: np.ndarray) -> Any:
        square = error**2
        total, typical = max(square.mean(), MIN), variance.mean()
        # In these units a and b are both of the order of 1, whatever the experts' own units were.
        r, v = square / total, variance / typical
        best = min(
            (
                minimize(_affine_nll, start, (r, v), "L-BFGS-B", jac=True, bounds=[(0, None)] * 2)
                for start in _starts(r, v)
            ),
            key=lambda result: result.fun,
        )
        return np.array([best.x[0] * total / typical, best.x[1] * total])

    def _serve_axis(self, fitted: Any, variance: np.ndarray) -> np.ndarray:
        return np.maximum(fitted[0] * variance + fitted[1], MIN)


def _starts(square: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
    return [np.array([np.mean(square / variance), 0.0]), np.array([0.5, 0.5]), np.array([0.0, 1.0])]


def _affine_nll(theta: np.ndarray, square: np.ndarray, variance: np.ndarray) -> tuple[float, np.ndarray]:
    served = np.maximum(theta[0] * variance + theta[1], 1e-9)
    slope = 0.5 * (1 / served - square / served**2)
    value = 0.5 * np.mean(np.log(served) + square / served)
    return float(value), np.array([np.mean(slope * variance), np.mean(slope)])


class IsotonicVariance(VarianceLayer):
    """The best non-decreasing map from variance to squared error; straight between its knots, flat outside.

    Its first steps may rest on a row or two that happened to be near, and a variance that is far too small
    costs without bound. So no step is lower than the mean over the lowest steps that hold at least five rows
    and two in a hundred of all.
    """

    kind = "isotonic"

    def _fit_axis(self, error: np.ndarray, variance: np.ndarray) -> Any:
        square = error**2
        model = IsotonicRegression(increasing=True, out_of_bounds="clip").fit(variance, square)
        steps = model.predict(variance)
        enough = min(max(5, math.ceil(0.02 * len(square))), len(square))
        lowest = steps <= np.partition(steps, enough - 1)[enough - 1]
        return np.stack([model.X_thresholds_, np.maximum(model.y_thresholds_, square[lowest].mean())])

    def _serve_axis(self, fitted: Any, variance: np.ndarray) -> np.ndarray:
        served = np.interp(variance, fitted[0], fitted[1])
        return np.where(np.isfinite(variance), np.maximum(served, MIN), np.nan)


class ConstantVariance(VarianceLayer):
    """Every known variance becomes the mean squared error: the baseline that a variance per image must beat."""

    kind = "constant"

    def _fit_axis(self, error: np.ndarray, _variance: np.ndarray) -> Any:
        return max(np.mean(error**2), MIN)

    def _serve_axis(self, fitted: Any, variance: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(variance), fitted, np.nan)


class UnchangedVariance(VarianceLayer):
    """Variances as the expert gave them."""

    kind = "none"

    def _fit_axis(self, _error: np.ndarray, _variance: np.ndarray) -> Any:
        return 1.0

    def _serve_axis(self, _fitted: Any, variance: np.ndarray) -> np.ndarray:
        return variance


VARIANCE_LAYERS: dict[str, type[VarianceLayer]] = {
    layer.kind: layer
    for layer in (VarianceScaling, AffineVariance, IsotonicVariance, ConstantVariance, UnchangedVariance)
}
"""By kind: scaling, affine, isotonic, constant, none."""


def pooled_variance(truth: ArrayLike, mean: ArrayLike) -> np.ndarray:
    """The mean squared error of each axis, () or (2,), for variances that are unknown; NaN without a row."""
    square = (np.asarray(truth, dtype=np.float64) - np.asarray(mean, dtype=np.float64)) ** 2
    known = np.isfinite(square)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, square, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
