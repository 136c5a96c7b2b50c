"""Each axis by itself: its mean calibration and its variance recalibration may be of kinds of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration.means import MEAN_LAYERS, MeanLayer, fit_mean
from emofuse.calibration.variance import VARIANCE_LAYERS, VarianceLayer
from emofuse.config import CalibrationConfig


@dataclass(frozen=True, eq=False)
class MeanOfEachAxis:
    """Valence of one mean calibration and arousal of another.

    Attributes:
        axes: valence's and arousal's; each sees both outputs.
    """

    axes: tuple[MeanLayer, MeanLayer]

    kind = "per_axis"

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """Calibrated means (..., 2), and variances if given; NaN stays NaN."""
        moved = [layer.apply(mean, variance) for layer in self.axes]
        if variance is None:
            return _joined(moved)
        return _joined([each[0] for each in moved]), _joined([each[1] for each in moved])

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"kind": self.kind, "axes": [layer.to_dict() for layer in self.axes]}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.stack([part[..., axis] for axis, part in enumerate(parts)], axis=-1)


def fit_means(config: CalibrationConfig, truth: ArrayLike, mean: ArrayLike) -> MeanLayer:
    """The mean calibration that `config` names for each axis, fitted on all complete rows (N, 2).

    Raises:
        ConfigError: if a kind and its loss do not go together.
        DataError: if the rows do not serve.
    """
    if config.mean_of(0) == config.mean_of(1):
        kind, loss, l2 = config.mean_of(0)
        return fit_mean(kind, truth, mean, l2=l2, loss=loss)
    made = [
        fit_mean(kind, truth, mean, l2=l2, loss=loss, axis=axis)
        for axis, (kind, loss, l2) in enumerate((config.mean_of(0), config.mean_of(1)))
    ]
    return MeanOfEachAxis((made[0], made[1]))


def mean_from_dict(content: dict[str, Any]) -> MeanLayer:
    """The inverse of a mean calibration's `to_dict`."""
    if content["kind"] == MeanOfEachAxis.kind:
        first, second = (MEAN_LAYERS[each["kind"]](each) for each in content["axes"])
        return MeanOfEachAxis((first, second))
    return MEAN_LAYERS[content["kind"]](content)


@dataclass(frozen=True, eq=False)
class VarianceOfEachAxis:
    """A variance recalibration for each axis; None where none was ever known.

    Attributes:
        axes: valence's and arousal's, each fitted on its axis alone.
    """

    axes: tuple[VarianceLayer | None, VarianceLayer | None]

    kind = "per_axis"

    def apply(self, variance: ArrayLike) -> np.ndarray:
        """Recalibrated variances (..., 2); unknown ones become NaN."""
        v = np.asarray(variance, dtype=np.float64)
        nothing = np.full(v.shape[:-1], np.nan)
        return np.stack([nothing if e is None else e.apply(v[..., i]) for i, e in enumerate(self.axes)], axis=-1)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"kind": self.kind, "axes": [None if each is None else each.to_dict() for each in self.axes]}


def fit_variances(
    config: CalibrationConfig, truth: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> VarianceLayer | VarianceOfEachAxis | None:
    """The recalibration that `config` names for each axis; None where neither axis has two rows with a variance.

    Args:
        config: the layers.
        truth: (N, 2).
        mean: (N, 2), calibrated.
        variance: (N, 2), as the mean calibration carried it over.
    """
    kinds = (config.variance_of(0), config.variance_of(1))
    known = (np.isfinite(truth) & np.isfinite(mean) & np.isfinite(variance) & (variance > 0)).sum(axis=0) >= 2
    if not known.any():
        return None
    if known.all() and kinds[0] == kinds[1]:
        return VARIANCE_LAYERS[kinds[0]]().fit(truth, mean, variance)
    first, second = (
        VARIANCE_LAYERS[kind]().fit(truth[:, i], mean[:, i], variance[:, i]) if known[i] else None
        for i, kind in enumerate(kinds)
    )
    return VarianceOfEachAxis((first, second))


def variance_from_dict(content: dict[str, Any]) -> VarianceLayer | VarianceOfEachAxis:
    """The inverse of a variance recalibration's `to_dict`."""
    if content["kind"] != VarianceOfEachAxis.kind:
        return VARIANCE_LAYERS[content["kind"]].from_dict(content)
    first, second = (
        None if each is None else VARIANCE_LAYERS[each["kind"]].from_dict(each) for each in content["axes"]
    )
    return VarianceOfEachAxis((first, second))
