"""Joining experts: inverse variance, the gates, and the choice among the rules.

Experts stand on the first axis, `(K, ...)`, typically `(2, N, 2)`: scene and face, rows, valence and
arousal. `emofuse.opinions` has the table of what happens where a mean or a variance is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike

from emofuse.combination import (
    best_linear_unbiased,
    equal_weights,
    estimate_correlation,
    fit_constant_weight,
    fixed_weights,
    random_effects,
)
from emofuse.config import FusionConfig
from emofuse.errors import ConfigError
from emofuse.opinions import FLOOR, Fused, Opinions, usable
from emofuse.stacking import Stack, fit_stack, stacked

__all__ = [
    "GATES",
    "METHODS",
    "Fused",
    "Stack",
    "best_linear_unbiased",
    "equal_weights",
    "estimate_correlation",
    "fit_constant_weight",
    "fit_stack",
    "fixed_weights",
    "fuse",
    "gate",
    "inverse_variance",
    "random_effects",
    "stacked",
]


def inverse_variance(
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    floor: float = FLOOR,
    pooled: ArrayLike | None = None,
    max_weight_ratio: float | None = None,
) -> Fused:
    """Weights in proportion to 1/variance: the best unbiased estimate if errors are independent.

    `w_i = (1/v_i) / sum(1/v_j)`, `m = sum(w_i m_i)`, `v = sum(w_i^2 v_i)`, which is `1 / sum(1/v_i)`
    and at most the least variance, unless the ratio is capped.

    Args:
        mean: (K, ...), reference scale; NaN = no opinion.
        variance: (K, ...), true *error* variances, so recalibrate first; NaN, 0, negative, infinite = unknown.
        floor: variances below count as this; not added to all, which would bias every result.
        pooled: (K,) or (K, A), each expert's mean squared error on valid, for unknown variances.
        max_weight_ratio: cap on the ratio of any precision to the least one.

    Raises:
        ConfigError: if `floor` is not above 0 or `max_weight_ratio` is below 1.
        ValueError: if the shapes do not fit.

    >>> float(inverse_variance([.2, .4], [.04, .01]).mean)
    0.36

    Source: the fixed-effect estimate of meta-analysis; Cochran 1954.
    """
    experts = Opinions.of(mean, variance, floor, pooled)
    precision = np.where(experts.used, 1 / experts.variance, 0.0)
    return experts.join(_capped(precision, max_weight_ratio), experts.variance)


def _capped(precision: np.ndarray, ratio: float | None) -> np.ndarray:
    if ratio is None:
        return precision
    if not ratio >= 1:
        raise ConfigError(f"max_weight_ratio must be at least 1; got {ratio}")
    least = np.where(precision > 0, precision, np.inf).min(axis=0)
    return np.minimum(precision, ratio * least)


def gate(
    face_score: ArrayLike, face_variance: ArrayLike, luma: ArrayLike, config: FusionConfig
) -> dict[str, np.ndarray]:
    """Which gate shuts the face out of the fusion, row by row.

    Args:
        face_score: (N,), detection score, 0 to 1.
        face_variance: (N, 2), as it will be fused (recalibrated, pooled where unknown).
        luma: (N,), mean BT.601 luma, 0-255.
        config: the thresholds; None leaves a gate open.

    Returns:
        `gate_score`, `gate_std`, `gate_luma`: bool (N,), True where shut. What was not measured shuts no
        gate, but a face that was found and whose variance is still unknown shuts `gate_std`, if that is set.
    """
    score, light = np.asarray(face_score, dtype=np.float64), np.asarray(luma, dtype=np.float64)
    variance = np.asarray(face_variance, dtype=np.float64)
    shut: dict[str, np.ndarray] = {name: np.zeros(score.shape, dtype=bool) for name in GATES}
    if config.min_face_score is not None:
        shut["gate_score"] = score < config.min_face_score
    if config.max_face_std is not None:
        wide = np.isfinite(variance) & (variance > config.max_face_std**2)
        unknown = ~usable(variance) & np.isfinite(score)[:, None]
        shut["gate_std"] = np.asarray((wide | unknown).any(axis=-1))
    if config.min_luma is not None:
        shut["gate_luma"] = light < config.min_luma
    return shut


def fuse(
    mean: ArrayLike,
    variance: ArrayLike,
    config: FusionConfig,
    *,
    pooled: ArrayLike | None = None,
    correlation: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
    stack: Stack | None = None,
) -> Fused:
    """The fusion that `config` names.

    Args:
        mean: (K, ...); set the face to NaN where a gate is shut.
        variance: (K, ...).
        config: method, floor and cap.
        pooled: (K,) or (K, A), for unknown variances.
        correlation: of errors, for best_linear_unbiased.
        weights: (K,) or (K, A), fitted on valid, for constant.
        stack: fitted on valid, for stacked.

    Raises:
        ConfigError: if the method is unknown or lacks what it needs.
    """
    if config.method not in METHODS:
        raise ConfigError(f"fusion method must be one of {', '.join(METHODS)}; got {config.method!r}")
    needs: dict[str, object] = {"floor": config.variance_floor, "pooled": pooled}
    if config.method in ("auto", "inverse_variance"):
        needs["max_weight_ratio"] = config.max_weight_ratio
    elif config.max_weight_ratio is not None:
        raise ConfigError(f"max_weight_ratio belongs to inverse_variance, not to {config.method}")
    if config.method == "best_linear_unbiased":
        needs |= {"correlation": correlation, "cap": True}
    for method, name, fitted in (("constant", "weights", weights), ("stacked", "stack", stack)):
        if config.method == method:
            if fitted is None:
                raise ConfigError(f"{method} fusion is fitted on valid: give a calibration, or choose another method")
            needs[name] = fitted
    return METHODS[config.method](mean, variance, **needs)


GATES = ("gate_score", "gate_std", "gate_luma")

METHODS: dict[str, Callable[..., Fused]] = {
    "auto": inverse_variance,
    "inverse_variance": inverse_variance,
    "best_linear_unbiased": best_linear_unbiased,
    "random_effects": random_effects,
    "fixed": fixed_weights,
    "equal": equal_weights,
    "constant": fixed_weights,
    "stacked": stacked,
}
"""By the names of `FusionConfig.method`."""


def __getattr__(name: str) -> object:
    """`SceneFaceFusion`, which needs the experts and so the layers above, is found when asked for."""
    if name == "SceneFaceFusion":
        return import_module("emofuse.live").SceneFaceFusion
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
