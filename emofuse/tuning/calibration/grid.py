"""The configurations a sweep of the calibration tries, and how simple each one is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from emofuse.config import CalibrationConfig, CalibrationSweepConfig, FusionConfig
from emofuse.errors import ConfigError

GATES = ("min_face_score", "max_face_std", "min_luma")
MEAN_PARAMETERS = {"identity": 0, "affine": 2, "linear": 3, "quadratic": 6, "isotonic": 10, "spline": 15}
"""Free numbers per expert and axis; of isotonic ones, the usual number of steps."""
VARIANCE_PARAMETERS = {"none": 0, "constant": 1, "scaling": 1, "affine": 2, "isotonic": 10}
METHOD_PARAMETERS = {"fixed": 0, "equal": 0, "inverse_variance": 0, "random_effects": 0}
METHOD_PARAMETERS |= {"best_linear_unbiased": 1, "constant": 1, "stacked": 4}
"""Free numbers per axis."""
NOTHING_KNOWN: tuple[Literal["none"]] = ("none",)
"""The variance recalibrations to try where no expert gives variances."""


@dataclass(frozen=True)
class Grid:
    """Every calibration with every rule behind every gate: their product, in that order, is the surface.

    Attributes:
        calibrations: layers of both experts.
        fusions: rules, without gates.
        gates: thresholds by name of `GATES`; None leaves a gate open.
    """

    calibrations: list[CalibrationConfig]
    fusions: list[FusionConfig]
    gates: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.calibrations) * len(self.fusions) * len(self.gates)

    def parts(self, number: int) -> tuple[CalibrationConfig, FusionConfig]:
        """The configuration of that number: its layers, and its rule with its gates.

        Raises:
            IndexError: if there is none.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} configurations, no number {number}")
        rest, gate = divmod(number, len(self.gates))
        layers, rule = divmod(rest, len(self.fusions))
        return self.calibrations[layers], gated(self.fusions[rule], self.gates[gate])


def full_grid(options: CalibrationSweepConfig, *, both: bool, known: bool = True) -> Grid:
    """All that goes together.

    Args:
        options: what to try.
        both: whether there are rows with both experts; without, rules and gates make no difference.
        known: whether any expert gives variances; without, all are pooled and there is nothing to recalibrate.

    Raises:
        ConfigError: if the options leave nothing to try.
    """
    variances = dict.fromkeys(options.variances) if known else dict.fromkeys(NOTHING_KNOWN)
    layers = [
        CalibrationConfig(mean=mean, loss=loss, l2=l2, variance=variance)
        for mean in dict.fromkeys(options.means)
        for loss, l2 in _targets(mean, options)
        for variance in variances
    ]
    rules, gates = [FusionConfig(method="inverse_variance")], [dict.fromkeys(GATES, None)]
    if both:
        rules = [
            FusionConfig(method=method, max_weight_ratio=ratio)
            for method in dict.fromkeys(options.methods)
            for ratio in ((None, *options.max_weight_ratio) if method == "inverse_variance" else (None,))
        ]
        gates = [
            dict(zip(GATES, values, strict=True))
            for values in product(*((None, *dict.fromkeys(getattr(options, name))) for name in GATES))
        ]
    grid = Grid(layers, rules, gates)
    if not len(grid):
        raise ConfigError("the sweep has nothing to try: name at least one mean, loss, l2, variance and method")
    return grid


def _targets(mean: str, options: CalibrationSweepConfig) -> list[tuple[Any, float]]:
    """Losses and penalties that make a difference to that mean."""
    if mean == "identity":
        return [("mse", 1e-4)]
    if mean == "isotonic":
        return [("mse", 1e-4)] if "mse" in options.losses else []
    losses = [loss for loss in dict.fromkeys(options.losses) if mean == "affine" or loss != "ccc"]
    return list(product(losses, dict.fromkeys(options.l2)))


def gated(fusion: FusionConfig, thresholds: dict[str, Any]) -> FusionConfig:
    """The rule behind these gates."""
    return replace(fusion, **thresholds)


def complexity(layers: CalibrationConfig, fusion: FusionConfig) -> int:
    """Free numbers of a configuration per axis: both experts' layers, the rule, its cap and its gates."""
    both_experts = 2 * (MEAN_PARAMETERS[layers.mean] + VARIANCE_PARAMETERS[layers.variance])
    thresholds = sum(getattr(fusion, name) is not None for name in ("max_weight_ratio", *GATES))
    return both_experts + METHOD_PARAMETERS[fusion.method] + thresholds
