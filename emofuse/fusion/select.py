"""The fusion that the options name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.config import FusionConfig
from emofuse.errors import ConfigError
from emofuse.fusion.error_correlation import ASSUMED
from emofuse.fusion.inputs import Fused, with_pooled
from emofuse.fusion.parameters import FusionParameters
from emofuse.fusion.rules import (
    best_linear_unbiased,
    equal_weights,
    fixed_weights,
    inverse_variance,
    random_effects,
)
from emofuse.fusion.stacking import stacked


def fuse(
    mean: ArrayLike, variance: ArrayLike, config: FusionConfig, parameters: FusionParameters | None = None
) -> Fused:
    """The fusion that `config` names, with its variance scaled as was fitted on valid.

    Args:
        mean: (K, ..., A); set the face to NaN where a gate is shut.
        variance: (K, ..., A).
        config: method, floor and cap.
        parameters: what is known of the experts; by default nothing.

    Raises:
        ConfigError: if the method is unknown or lacks what it needs.
    """
    known = parameters or FusionParameters()
    check_fusion(config, known)
    method = resolved_method(config, known)
    options: dict[str, object] = {"floor": config.floor, "pooled": known.pooled}
    if method == "inverse_variance":
        options["max_weight_ratio"] = config.threshold("max_weight_ratio")
    fused = METHODS[method](mean, variance, known, options)
    scale = known.scales.get(method)
    return fused if scale is None else replace(fused, variance=scale.apply(fused.variance, mean))


def check_fusion(config: FusionConfig, parameters: FusionParameters) -> None:
    """Check that the method is one of ours, has what it needs, and takes the options that are given.

    Args:
        config: the fusion, with a calibration's choice in it.
        parameters: what is known of the experts together.

    Raises:
        ConfigError: saying what is missing, or what does not belong together.
    """
    method = resolved_method(config, parameters)
    if method not in METHODS:
        raise ConfigError(f"fusion method must be one of {', '.join(('auto', *METHODS))}; got {method!r}")
    if config.threshold("max_weight_ratio") is not None and method != "inverse_variance":
        raise ConfigError(f"max_weight_ratio belongs to inverse_variance, not to {config.method}")
    if not can_fuse(method, parameters):
        if method == "joint_gaussian":
            raise ConfigError(
                "joint_gaussian fusion needs to know how the experts were fitted: give a calibration, experts whose "
                "cards say it, or choose best_linear_unbiased"
            )
        raise ConfigError(f"{method} fusion is fitted on valid: give a calibration, or choose another method")


def resolved_method(config: FusionConfig, parameters: FusionParameters) -> str:
    """The rule by its name, where "auto" is what the experts allow."""
    return parameters.rule if config.method == "auto" else config.method


def can_fuse(method: str, parameters: FusionParameters) -> bool:
    """Whether what the rule needs is there."""
    needs = {"joint_gaussian": "joint", "constant": "weights", "stacked": "stack"}.get(method)
    return needs is None or getattr(parameters, needs) is not None


CORRELATED = ("joint_gaussian", "best_linear_unbiased")
"""Rules that take the correlation of the experts' errors."""
Rule = Callable[[ArrayLike, ArrayLike, FusionParameters, dict[str, Any]], Fused]


def _plain(rule: Callable[..., Fused]) -> Rule:
    return lambda mean, variance, _, options: rule(mean, variance, **options)


def _joint_gaussian(mean: ArrayLike, variance: ArrayLike, known: FusionParameters, options: dict[str, Any]) -> Fused:
    assert known.joint is not None  # by check_fusion
    return known.joint.joint_gaussian(mean, variance, **options)


def _best_linear_unbiased(
    mean: ArrayLike, variance: ArrayLike, known: FusionParameters, options: dict[str, Any]
) -> Fused:
    if known.joint is None:
        return best_linear_unbiased(mean, variance, ASSUMED, cap=True, **options)
    return known.joint.best_linear_unbiased(mean, variance, **options)


def _constant(mean: ArrayLike, variance: ArrayLike, known: FusionParameters, options: dict[str, Any]) -> Fused:
    assert known.weights is not None  # by check_fusion
    return fixed_weights(mean, variance, known.weights, **options)


def _stacked(mean: ArrayLike, variance: ArrayLike, known: FusionParameters, options: dict[str, Any]) -> Fused:
    assert known.stack is not None  # by check_fusion
    return stacked(mean, variance, known.stack, **options)


METHODS: dict[str, Rule] = {
    "joint_gaussian": _joint_gaussian,
    "best_linear_unbiased": _best_linear_unbiased,
    "inverse_variance": _plain(inverse_variance),
    "random_effects": _plain(random_effects),
    "fixed": _plain(fixed_weights),
    "equal": _plain(equal_weights),
    "constant": _constant,
    "stacked": _stacked,
}
"""By the names of `FusionConfig.method`, without "auto"."""


def chosen_fusion(asked: FusionConfig, fitted: FusionConfig | None) -> FusionConfig:
    """The fusion in force: what is asked for, and for what is not given the calibration's choice, else the defaults.

    A calibration's cap and gates were chosen for its own rule: where another is named, none of them is taken over.

    Args:
        asked: None stands for an option that is not given.
        fitted: the calibration's choice; None without a calibration.
    """
    given: dict[str, Any] = {name: value for name, value in vars(asked).items() if value is not None}
    del given["method"]
    base = FusionConfig(method=asked.method) if asked.method != "auto" or fitted is None else fitted
    joined = replace(base, **given)
    in_force: dict[str, Any] = {name: joined.threshold(name) for name in THRESHOLDS}
    return replace(joined, variance_floor=joined.floor, **in_force)


THRESHOLDS = ("max_weight_ratio", "min_face_score", "max_face_std", "min_luma")
"""Options of a fusion that can be switched off."""


def clamp(mean: np.ndarray) -> np.ndarray:
    """Means within the reference scale; the last step before they are reported."""
    return np.clip(mean, -1, 1)


def recalibrated(mean: np.ndarray, variance: np.ndarray, card: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
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
    return with_pooled(mean, floor + scale * np.asarray(variance, dtype=np.float64), pooled)
