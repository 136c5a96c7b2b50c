"""Joining calibrated experts by regression: for means that were drawn to the middle, as calibration draws them.

A mean that is calibrated for squared error is drawn to the middle of the labels, the more so the less the
expert knows. The errors of two such means are alike (both lack the same part of the truth), and an average
of them, however weighted, stays as timid as they are. A regression of the truth on both may lean out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from emofuse.affect import VARIANCE_FLOOR
from emofuse.errors import DataError
from emofuse.fusion.inputs import ExpertPredictions, Fused
from emofuse.fusion.rules import complete_rows, fit_constant_weight

PRIOR_ROWS = 100.0
"""Rows' worth of belief in the constant weights: images of a group are alike, so rows say less than they seem."""
MIN_ROWS = 10


@dataclass(frozen=True, eq=False)
class Stack:
    """`m = c + w1 m1 + w2 m2`, with variance `s² (w1² v1 + w2² v2)`, per axis.

    It leans out from the labels' mean μ, `m - μ = w1 (m1 - μ) + w2 (m2 - μ)`: c is no free parameter, and weights
    of sum 1 are a plain average.

    Attributes:
        intercept: c = (1 - w1 - w2) μ, (A,) or ().
        weights: w, (2, A) or (2,), not negative; their sum is free.
        scale: s², (A,) or ().
    """

    intercept: np.ndarray
    weights: np.ndarray
    scale: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {"intercept": self.intercept, "weights": self.weights, "scale": self.scale}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Stack:
        """The inverse of `to_dict`."""
        return cls(*(np.array(content[name], dtype=np.float64) for name in ("intercept", "weights", "scale")))


def fit_stack(
    truth: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    prior_rows: float = PRIOR_ROWS,
    floor: float = VARIANCE_FLOOR,
) -> Stack:
    """The stack with the least squared error, weights not negative and drawn to the constant ones.

    Args:
        truth: (N,) or (N, A), reference scale; all labels count for their mean.
        mean: (2, N) or (2, N, A), calibrated without the row's own group; rows that lack either are left out.
        variance: likewise, as they will be fused; they set the scale of the result's variance.
        prior_rows: rows' worth of belief in the constant weights.
        floor: least variance.

    Raises:
        DataError: if an axis has fewer than ten complete rows.

    Source: Breiman 1996, Stacked regressions (weights not negative).
    """
    y, m, complete = complete_rows(truth, mean)
    v = np.maximum(np.asarray(variance, dtype=np.float64), floor)
    if (complete.sum(axis=0) < MIN_ROWS).any():
        raise DataError(f"stacking needs {MIN_ROWS} rows with a label and both predictions; got {complete.sum(axis=0)}")
    rows, prior = len(y), fit_constant_weight(truth, mean).reshape(2, -1)
    y2, whole = y.reshape(rows, -1), complete.reshape(rows, -1)
    m2, v2 = m.reshape(2, rows, -1), v.reshape(2, rows, -1)
    labels = np.where(np.isfinite(y), y, np.nan).reshape(rows, -1)
    middle = np.nanmean(labels, axis=0)
    axes = [
        _fit_axis(y2[kept, i], m2[:, kept, i], v2[:, kept, i], middle[i], prior[:, i], prior_rows)
        for i, kept in enumerate(whole.T)
    ]
    intercept, first, second, scale = (np.array(each).reshape(y.shape[1:]) for each in zip(*axes, strict=True))
    return Stack(intercept, np.stack([first, second]), scale)


def _fit_axis(
    y: np.ndarray, m: np.ndarray, v: np.ndarray, middle: float, prior: np.ndarray, prior_rows: float
) -> tuple[float, float, float, float]:
    spread = m - middle
    belief = np.sqrt(prior_rows * max(float((spread**2).mean()), 1e-12))
    features = np.vstack([spread.T, belief * np.eye(2)])
    weights, _ = nnls(features, np.append(y - middle, belief * prior))
    intercept = float((1 - weights.sum()) * middle)
    error = (y - intercept - weights @ m) ** 2
    own = (weights[:, None] ** 2 * v).sum(axis=0)
    known = np.isfinite(own) & (own > 0)
    scale = float(np.mean(error[known] / own[known])) if known.any() else float("nan")
    return intercept, float(weights[0]), float(weights[1]), scale


def stacked(
    mean: ArrayLike,
    variance: ArrayLike,
    stack: Stack,
    *,
    floor: float = VARIANCE_FLOOR,
    pooled: ArrayLike | None = None,
) -> Fused:
    """The stack where both experts are there; a lone one passes through unchanged.

    Args:
        mean: (2, ..., A), calibrated; NaN = no prediction.
        variance: likewise; unknown ones are pooled, and the result's is NaN where one used stays unknown.
        stack: fitted on valid.
        floor: least variance.
        pooled: (2,) or (2, A), for unknown variances.

    Returns:
        The fusion; its `weights` are the shares w / sum(w), since the stack's own need not sum to 1.
    """
    experts = ExpertPredictions.of(mean, variance, floor, pooled)
    w = np.broadcast_to(
        stack.weights.reshape(2, *(1,) * (experts.mean.ndim - stack.weights.ndim), *stack.weights.shape[1:]),
        experts.mean.shape,
    )
    # With no weight at all the answer is the constant c, and neither expert has the greater share in it.
    share = np.where(w.any(axis=0), w, 1.0)
    share = np.where(experts.present, share, 0.0)
    share = np.where(share.any(axis=0), share, experts.present)
    both = experts.present.all(axis=0)
    plain = experts.join(share, experts.variance)
    unknown = ((w != 0) & ~experts.known).any(axis=0)
    spread = np.where(unknown, np.nan, stack.scale * (w**2 * experts.variance).sum(axis=0))
    spread = np.maximum(spread, floor)
    joined = stack.intercept + (w * experts.mean).sum(axis=0)
    return Fused(
        np.where(both, joined, plain.mean),
        np.where(both, spread, plain.variance),
        plain.weights,
        plain.valid,
        plain.source,
    )
