"""Mean calibrations with more freedom than a scale and a shift: both outputs as features, curves, steps.

Where a model's valence also tells of arousal, or its outputs bend, these can do better than a line; whether
they do is for held-out groups to say. Those with features are drawn to the identity by their penalty, the ordinal
one to the same answer for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline
from sklearn.isotonic import IsotonicRegression

from emofuse.calibration import files
from emofuse.calibration.constant import ConstantCalibration
from emofuse.calibration.cross_domain import CrossDomainCalibration
from emofuse.calibration.linear import least_absolute, ridge
from emofuse.calibration.ordinal import CumulativeLogit, OrdinalCalibration
from emofuse.calibration.rows import paired
from emofuse.calibration.trainer import CalibrationTrainer, Loss
from emofuse.config import MeanKind
from emofuse.errors import ConfigError, DataError


class MeanLayer(Protocol):
    """What the bundle asks of a mean calibration."""

    @property
    def kind(self) -> str:
        """Its name in `MEAN_LAYERS`."""

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """Calibrated means (..., 2), and variances if given; NaN stays NaN."""

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""


@dataclass(frozen=True, eq=False)
class FeatureCalibration:
    """`m -> m + theta' f(m)` per axis, where the features f see both outputs of the expert.

    Attributes:
        kind: linear [1, v, a], quadratic (with v², va, a²), or spline (cubic in each output).
        theta: (p, 2), the correction's weights.
        knots: (k, 2), the spline's knots within each output's range, beyond which it goes on flat.
    """

    kind: str
    theta: np.ndarray
    knots: np.ndarray | None = None

    @classmethod
    def fit(cls, kind: str, truth: np.ndarray, mean: np.ndarray, l2: float, loss: Loss) -> FeatureCalibration:
        """Fit to complete rows (N, 2) by ridge (mse) or penalised least absolute error (mae)."""
        knots = np.quantile(mean, [0, 0.25, 0.5, 0.75, 1], axis=0) if kind == "spline" else None
        if knots is not None and (np.diff(knots, axis=0) <= 0).any():
            raise DataError("a spline needs predictions that vary on both axes")
        features = _features(kind, mean, knots)
        residual = truth - mean
        if loss == "mae":
            theta = np.stack([least_absolute(features, residual[:, axis], l2) for axis in (0, 1)], axis=1)
        else:
            theta = ridge(features, residual, l2)
        return cls(kind, theta, knots)

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """Calibrated means (..., 2), and variances by the delta method if given; NaN stays NaN."""
        m = np.asarray(mean, dtype=np.float64)
        moved = self._move(m)
        if variance is None:
            return moved
        v = np.asarray(variance, dtype=np.float64)
        step = 1e-4
        total = np.zeros_like(m)
        for axis in (0, 1):
            nudge = step * np.eye(2)[axis]
            slope = (self._move(m + nudge) - self._move(m - nudge)) / (2 * step)
            total = total + slope**2 * v[..., axis, None]
        return moved, total

    def _move(self, mean: np.ndarray) -> np.ndarray:
        rows = mean.reshape(-1, 2)
        whole = np.isfinite(rows).all(axis=1)
        moved = np.full_like(rows, np.nan)
        moved[whole] = rows[whole] + _features(self.kind, rows[whole], self.knots) @ self.theta
        return moved.reshape(mean.shape)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"kind": self.kind, "theta": self.theta, "knots": self.knots}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> FeatureCalibration:
        """The inverse of `to_dict`."""
        knots = content["knots"]
        return cls(content["kind"], files.numbers(content["theta"]), None if knots is None else files.numbers(knots))


def _features(kind: str, mean: np.ndarray, knots: np.ndarray | None) -> np.ndarray:
    v, a = mean[:, 0], mean[:, 1]
    one = np.ones_like(v)
    if kind == "linear":
        return np.column_stack([one, v, a])
    if kind == "quadratic":
        return np.column_stack([one, v, a, v * v, v * a, a * a])
    if kind == "spline" and knots is not None:
        return np.column_stack([one, _cubic(v, knots[:, 0]), _cubic(a, knots[:, 1])])
    raise ConfigError(f"features must be linear, quadratic or spline; got {kind!r}")


def _cubic(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    padded = np.concatenate([[knots[0]] * 3, knots, [knots[-1]] * 3])
    return BSpline.design_matrix(np.clip(x, knots[0], knots[-1]), padded, 3).toarray()


@dataclass(frozen=True, eq=False)
class IsotonicCalibration:
    """The best non-decreasing map of each axis for squared error; straight between knots, flat outside.

    A step has no slope to carry a variance over, so variances are multiplied by the square of the ratio
    of standard deviations after and before: fit a variance layer after it.

    Attributes:
        knots: per axis (2, k): where, and to what.
        ratio: (2,), standard deviation after / before on the fitted rows.
    """

    knots: tuple[np.ndarray, np.ndarray]
    ratio: np.ndarray

    kind = "isotonic"

    @classmethod
    def fit(cls, truth: np.ndarray, mean: np.ndarray) -> IsotonicCalibration:
        """Fit to complete rows (N, 2)."""
        models = [IsotonicRegression(out_of_bounds="clip").fit(mean[:, i], truth[:, i]) for i in (0, 1)]
        knots = tuple(np.stack([model.X_thresholds_, model.y_thresholds_]) for model in models)
        after = np.stack([np.interp(mean[:, i], *knots[i]) for i in (0, 1)], axis=1).std(axis=0)
        before = mean.std(axis=0)
        return cls((knots[0], knots[1]), after / np.where(before > 0, before, 1.0))

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """Calibrated means (..., 2), and variances if given; NaN stays NaN."""
        m = np.asarray(mean, dtype=np.float64)
        moved = np.stack([np.interp(m[..., i], *self.knots[i]) for i in (0, 1)], axis=-1)
        if variance is None:
            return moved
        return moved, self.ratio**2 * np.asarray(variance, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"kind": self.kind, "knots": list(self.knots), "ratio": self.ratio}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> IsotonicCalibration:
        """The inverse of `to_dict`."""
        first, second = (files.numbers(each) for each in content["knots"])
        return cls((first, second), files.numbers(content["ratio"]))


def fit_mean(
    kind: MeanKind,
    truth: ArrayLike,
    mean: ArrayLike,
    *,
    l2: float = 1e-4,
    loss: Loss = "mse",
    axis: int | None = None,
) -> MeanLayer:
    """A mean calibration of that kind, fitted on all complete rows (valid, never the rows it is evaluated on).

    Args:
        kind: identity | constant | affine | linear | quadratic | spline | isotonic | ordinal.
        truth: (N, 2), reference scale.
        mean: (N, 2), the expert's; rows that lack a value are left out.
        l2: what draws it to the identity, and an ordinal one to a constant.
        loss: mse | mae | ccc; ccc only for affine, isotonic is of squared error.
        axis: the axis that will be used (0 valence, 1 arousal); both by default. The other one's labels need not serve.

    Raises:
        ConfigError: if kind and loss do not go together.
        DataError: if the rows do not serve.
    """
    if kind not in get_args(MeanKind):
        raise ConfigError(f"mean calibration must be one of {', '.join(get_args(MeanKind))}; got {kind!r}")
    affine = CrossDomainCalibration(l2_reg=l2)
    if kind == "identity":
        return affine
    if kind == "affine":
        CalibrationTrainer(affine, loss).fit(mean, truth, val_split=0)
        return affine
    if loss == "ccc" or (kind == "isotonic" and loss != "mse"):
        raise ConfigError(f"the {kind} mean calibration cannot be fitted for {loss}")
    y, x = paired(truth, mean)
    whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
    if whole.sum() < 2:
        raise DataError(f"a calibration needs at least two complete rows to fit; got {int(whole.sum())}")
    return _fitted(kind, y[whole], x[whole], l2, loss, (0, 1) if axis is None else (axis,))


def _fitted(kind: str, y: np.ndarray, x: np.ndarray, l2: float, loss: Loss, axes: tuple[int, ...]) -> MeanLayer:
    if kind == "constant":
        return ConstantCalibration.fit(y, median=loss == "mae")
    if kind == "isotonic":
        return IsotonicCalibration.fit(y, x)
    if kind == "ordinal":
        first, second = (CumulativeLogit.fit(y[:, i], x, l2) if i in axes else None for i in (0, 1))
        return OrdinalCalibration((first, second), loss == "mae")
    return FeatureCalibration.fit(kind, y, x, l2, loss)


MEAN_LAYERS: dict[str, Callable[[dict[str, Any]], MeanLayer]] = {
    "affine": CrossDomainCalibration.from_dict,
    "linear": FeatureCalibration.from_dict,
    "quadratic": FeatureCalibration.from_dict,
    "spline": FeatureCalibration.from_dict,
    "isotonic": IsotonicCalibration.from_dict,
    "constant": ConstantCalibration.from_dict,
    "ordinal": OrdinalCalibration.from_dict,
}
"""How a stored layer of each kind is rebuilt; the identity is stored as the affine layer it is."""
