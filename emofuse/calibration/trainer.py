"""Fitting a cross-domain calibration to a declared target, with its scores on held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from emofuse.affect import AXES
from emofuse.calibration.cross_domain import CrossDomainCalibration
from emofuse.calibration.linear import least_absolute, ridge
from emofuse.calibration.rows import group_ids, grouped_split, paired
from emofuse.config import MeanLoss
from emofuse.errors import ConfigError, DataError
from emofuse.metrics import accuracy

Loss = MeanLoss


@dataclass(frozen=True, eq=False)
class CalibrationFit:
    """What a fit did.

    Attributes:
        target: the declared loss, "mse", "mae" or "ccc" (which is .7 (1 - CCC) + .3 MSE).
        parameters: scale_v, scale_a, shift_v, shift_a as restored: the best seen, not the last.
        history: one entry per axis and step with `axis`, `step`, `scale`, `shift`, `objective` (on the
            fitted rows, with the penalty) and `unseen` (the same on the held-out rows, never used to choose).
        fitted_rows: how many rows were fitted.
        unseen_rows: how many were held out.
        unseen: `raw` and `calibrated` scores of the held-out rows; empty where none were held out.
    """

    target: str
    parameters: dict[str, float]
    history: list[dict[str, Any]]
    fitted_rows: int
    unseen_rows: int
    unseen: dict[str, dict[str, float]]


class CalibrationTrainer:
    """Fits a `CrossDomainCalibration` in place.

    Squared error is fitted in closed form and absolute error by reweighting, both convex; with the CCC
    loss or tanh an optimiser starts from the identity and from the convex fit and keeps the best it saw.
    The targets pull apart: the line with the least squared error has CCC 2r²/(1+r²), the one that matches
    variances has r. So the loss is declared, and a gain in CCC by rescaling is no gain in ordering.

    Args:
        calibration: to be fitted.
        loss: "mse", "mae" (medians, for the least absolute error), or "ccc" (.7 (1 - CCC) + .3 MSE).
        seed: of the split.

    Raises:
        ConfigError: if the loss is unknown.
    """

    def __init__(self, calibration: CrossDomainCalibration, loss: Loss = "mse", seed: int = 0) -> None:
        if loss not in get_args(Loss):
            raise ConfigError(f"loss must be one of {', '.join(get_args(Loss))}; got {loss!r}")
        self.calibration, self.loss, self.seed = calibration, loss, seed

    def fit(
        self,
        predictions: ArrayLike,
        labels: ArrayLike,
        val_split: float = 0.2,
        groups: ArrayLike | None = None,
    ) -> CalibrationFit:
        """Fit on most groups, and score on those held out.

        Args:
            predictions: (N, 2), reference scale; rows that lack a value are left out.
            labels: (N, 2), reference scale.
            val_split: share of the groups held out; 0 fits on all rows.
            groups: (N,), what must not be split; by default every row is its own.

        Raises:
            DataError: for other shapes or scales, or fewer than two rows to fit.
        """
        y, x = paired(labels, predictions)
        ids = group_ids(groups, len(y))
        whole = np.isfinite(y).all(axis=1) & np.isfinite(x).all(axis=1)
        y, x, ids = y[whole], x[whole], ids[whole]
        fitted, unseen = np.arange(len(y)), np.arange(0)
        if val_split != 0:
            fitted, unseen = grouped_split(ids, val_split, self.seed)
        if len(fitted) < 2:
            raise DataError(f"a calibration needs at least two complete rows to fit; got {len(fitted)}")
        history: list[dict[str, Any]] = []
        for axis, name in enumerate(AXES):
            record = self._fit_axis(x[fitted, axis], y[fitted, axis], x[unseen, axis], y[unseen, axis])
            self.calibration.set(axis, *record.best)
            history += [{"axis": name, "step": i, **entry} for i, entry in enumerate(record.entries)]
        self.calibration.loss = self.loss
        scores = {}
        if len(unseen):
            moved = self.calibration.apply(x[unseen])
            scores = {"raw": six_scores(y[unseen], x[unseen]), "calibrated": six_scores(y[unseen], moved)}
        return CalibrationFit(self.loss, self.calibration.parameters(), history, len(fitted), len(unseen), scores)

    def _fit_axis(self, x: np.ndarray, y: np.ndarray, x_unseen: np.ndarray, y_unseen: np.ndarray) -> _Record:
        squash = np.tanh if self.calibration.use_tanh else lambda linear: linear
        record = _Record(
            lambda theta: self._objective(theta, x, y, squash),
            lambda theta: self._objective(theta, x_unseen, y_unseen, squash) if len(y_unseen) else np.nan,
        )
        features, l2 = np.column_stack([x, np.ones_like(x)]), self.calibration.l2_reg
        solve = least_absolute if self.loss == "mae" else ridge
        convex = np.array([1.0, 0.0]) + solve(features, y - x, l2)
        if not self.calibration.use_tanh and self.loss != "ccc":
            record(convex)
            return record
        for start in (np.array([1.0, 0.0]), convex):
            record(start)
            minimize(record, start, method="BFGS", options={"maxiter": 200})
        return record

    def _objective(
        self, theta: np.ndarray, x: np.ndarray, y: np.ndarray, squash: Callable[[np.ndarray], np.ndarray]
    ) -> float:
        moved = squash(theta[0] * x + theta[1])
        penalty = self.calibration.l2_reg * ((theta[0] - 1) ** 2 + theta[1] ** 2)
        if self.loss == "mae":
            return float(np.abs(moved - y).mean() + penalty)
        square = ((moved - y) ** 2).mean()
        if self.loss == "mse":
            return float(square + penalty)
        return float(0.7 * (1 - np.nan_to_num(accuracy.concordance(y, moved))) + 0.3 * square + penalty)


class _Record:
    """An objective that remembers every point it was asked for, so that the best is kept, not the last."""

    def __init__(self, fitted: Callable[[np.ndarray], float], unseen: Callable[[np.ndarray], float]) -> None:
        self.fitted, self.unseen = fitted, unseen
        self.entries: list[dict[str, float]] = []

    def __call__(self, theta: np.ndarray) -> float:
        value = self.fitted(theta)
        self.entries.append(
            {
                "scale": float(theta[0]),
                "shift": float(theta[1]),
                "objective": value,
                "unseen": float(self.unseen(theta)),
            }
        )
        return value

    @property
    def best(self) -> tuple[float, float]:
        """Scale and shift of the least objective on the fitted rows."""
        entry = min(self.entries, key=lambda each: each["objective"])
        return entry["scale"], entry["shift"]


SIX = ("mae_v", "mae_a", "mae_avg", "ccc_v", "ccc_a", "ccc_avg")
"""The scores that are compared with and without calibration."""


def six_scores(truth: np.ndarray, mean: np.ndarray) -> dict[str, float]:
    """MAE and CCC (moments with 1/n) of each axis and their averages, by the names in `SIX`."""
    both = [*np.asarray(accuracy.mae(truth, mean)), *np.asarray(accuracy.concordance(truth, mean))]
    v, a, cv, ca = (float(value) for value in both)
    return dict(zip(SIX, (v, a, (v + a) / 2, cv, ca, (cv + ca) / 2), strict=True))
