"""The fusion that the options name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.config import FusionConfig
from emofuse.errors import ConfigError
from emofuse.fusion.inputs import Fused
from emofuse.fusion.rules import (
    best_linear_unbiased,
    equal_weights,
    fixed_weights,
    inverse_variance,
    random_effects,
)
from emofuse.fusion.stacking import Stack, stacked


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


def chosen_fusion(asked: FusionConfig, fitted: FusionConfig | None) -> FusionConfig:
    """The fusion asked for; where its method is "auto", the calibration's choice, with the gates asked for.

    An option that is left at its default leaves the calibration's choice.
    """
    if asked.method != "auto":
        return asked
    if fitted is None:
        return replace(asked, method="inverse_variance")
    given = {f.name: getattr(asked, f.name) for f in fields(asked) if getattr(asked, f.name) != f.default}
    return replace(fitted, **given)


def clamp(mean: np.ndarray) -> np.ndarray:
    """Means within the reference scale; the last step before they are reported."""
    return np.clip(mean, -1, 1)


def recalibrated(mean: np.ndarray, variance: np.ndarray, card: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """An expert's variances after its card: floor + scale times its own, the pooled error where unknown.

    Args:
        mean: (N, 2).
        variance: (N, 2), the expert's own; NaN = unknown.
        card: may hold `variance_scale`, `variance_floor` and `pooled_error`, each per axis.

    Returns:
        Variances (N, 2), NaN where still unknown, and their source (N, 2).
    """
    scale, floor, pooled = (
        np.asarray(card.get(name) or (otherwise, otherwise), dtype=np.float64)
        for name, otherwise in (("variance_scale", 1.0), ("variance_floor", 0.0), ("pooled_error", np.nan))
    )
    known, there = np.isfinite(variance), np.isfinite(mean)
    full = np.where(known, floor + scale * variance, np.where(there, pooled, np.nan))
    return full, np.where(known, "model", np.where(there & np.isfinite(pooled), "pooled", "none"))
