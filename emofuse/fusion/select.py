"""The fusion that the options name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
    check_fusion(config, weights=weights, stack=stack)
    needs: dict[str, object] = {"floor": config.floor, "pooled": pooled}
    if config.method in ("auto", "inverse_variance"):
        needs["max_weight_ratio"] = config.threshold("max_weight_ratio")
    elif config.method == "best_linear_unbiased":
        needs |= {"correlation": correlation, "cap": True}
    elif config.method == "constant":
        needs["weights"] = weights
    elif config.method == "stacked":
        needs["stack"] = stack
    return METHODS[config.method](mean, variance, **needs)


def check_fusion(config: FusionConfig, *, weights: ArrayLike | None, stack: Stack | None, **_: object) -> None:
    """That the method is one of ours, has what was to be fitted for it, and takes the options it is given.

    Args:
        config: the fusion, with a calibration's choice in it.
        weights: fitted on valid, for constant.
        stack: fitted on valid, for stacked.
        _: what `fuse` takes besides.

    Raises:
        ConfigError: saying what is missing, or what does not belong together.
    """
    if config.method not in METHODS:
        raise ConfigError(f"fusion method must be one of {', '.join(METHODS)}; got {config.method!r}")
    if config.threshold("max_weight_ratio") is not None and config.method not in ("auto", "inverse_variance"):
        raise ConfigError(f"max_weight_ratio belongs to inverse_variance, not to {config.method}")
    for method, fitted in (("constant", weights), ("stacked", stack)):
        if config.method == method and fitted is None:
            raise ConfigError(f"{method} fusion is fitted on valid: give a calibration, or choose another method")


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
    """The fusion in force: what is asked for, and for what is not given the calibration's choice, else the defaults.

    A calibration's cap and gates were chosen for its own rule: where another is named, none of them is taken over.

    Args:
        asked: None stands for an option that is not given.
        fitted: the calibration's choice; None without a calibration.
    """
    given: dict[str, Any] = {name: value for name, value in vars(asked).items() if value is not None}
    del given["method"]
    if asked.method != "auto":
        base = FusionConfig(method=asked.method)
    else:
        base = fitted or FusionConfig(method="inverse_variance")
    joined = replace(base, **given)
    in_force: dict[str, Any] = {name: joined.threshold(name) for name in THRESHOLDS}
    return replace(joined, variance_floor=joined.floor, **in_force)


THRESHOLDS = ("max_weight_ratio", "min_face_score", "max_face_std", "min_luma")
"""Options of a fusion that can be switched off."""


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
