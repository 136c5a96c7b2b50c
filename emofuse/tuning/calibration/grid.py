"""What a sweep of the calibration tries, and how simple each of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from emofuse.config import CalibrationConfig, CalibrationSweepConfig, FusionConfig
from emofuse.errors import ConfigError

GATES = ("min_face_score", "max_face_std", "min_luma")
MEAN_PARAMETERS = {"identity": 0, "constant": 1, "affine": 2, "linear": 3, "quadratic": 6, "ordinal": 8}
MEAN_PARAMETERS |= {"isotonic": 10, "spline": 15}
"""Free numbers of an axis; of ordinal ones for seven values, of isotonic ones the usual number of steps."""
VARIANCE_PARAMETERS = {"none": 0, "constant": 1, "scaling": 1, "affine": 2, "isotonic": 10}
METHOD_PARAMETERS = dict.fromkeys(("auto", "joint_gaussian", "best_linear_unbiased", "inverse_variance"), 0)
METHOD_PARAMETERS |= {"random_effects": 0, "fixed": 0, "equal": 0, "constant": 1, "stacked": 4}
"""Free numbers of an axis; what is known of the experts together is fitted whatever the rule, and counts for none."""


@dataclass(frozen=True)
class Grid:
    """Every rule behind every gate: their product, in that order, is the surface.

    Attributes:
        fusions: rules, without gates.
        gates: thresholds by name of `GATES`; None leaves a gate open.
    """

    fusions: list[FusionConfig]
    gates: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.fusions) * len(self.gates)

    def __getitem__(self, number: int) -> FusionConfig:
        """The rule of that number with its gates.

        Raises:
            IndexError: if there is none.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} configurations, no number {number}")
        rule, gate = divmod(number, len(self.gates))
        return gated(self.fusions[rule], self.gates[gate])


def rule_grid(options: CalibrationSweepConfig, *, both: bool) -> Grid:
    """Rules and gates that go together.

    Args:
        options: what to try.
        both: whether there are rows with both experts; without, rules and gates make no difference.

    Raises:
        ConfigError: if the options leave nothing to try.
    """
    if not both:
        return Grid([FusionConfig()], [dict.fromkeys(GATES, None)])
    rules = [
        FusionConfig(method=method, max_weight_ratio=ratio)
        for method in dict.fromkeys(options.methods)
        for ratio in ((None, *options.max_weight_ratio) if method == "inverse_variance" else (None,))
    ]
    gates = [
        dict(zip(GATES, values, strict=True))
        for values in product(*((None, *dict.fromkeys(getattr(options, name))) for name in GATES))
    ]
    return Grid(_some(rules, "method"), gates)


def mean_candidates(options: CalibrationSweepConfig, *, few_values: bool) -> list[CalibrationConfig]:
    """Mean calibrations to try for every expert and axis; the ordinal one only where labels take few values.

    Raises:
        ConfigError: if the options leave nothing to try.
    """
    kinds = [mean for mean in dict.fromkeys(options.means) if few_values or mean != "ordinal"]
    made = [CalibrationConfig(mean=mean, loss=loss, l2=l2) for mean in kinds for loss, l2 in _targets(mean, options)]
    return _some(made, "mean, loss and l2")


def _targets(mean: str, options: CalibrationSweepConfig) -> list[tuple[Any, float]]:
    """Losses and penalties that make a difference to that mean."""
    losses = [loss for loss in dict.fromkeys(options.losses) if mean == "affine" or loss != "ccc"]
    if mean == "identity":
        return [("mse", 1e-4)]
    if mean == "isotonic":
        return [("mse", 1e-4)] if "mse" in losses else []
    if mean == "constant":
        return [(loss, 1e-4) for loss in losses]
    return list(product(losses, dict.fromkeys(options.l2)))


def _some(tried: list[Any], what: str) -> list[Any]:
    if not tried:
        raise ConfigError(f"the sweep has nothing to try: name at least one {what}")
    return tried


def of_both_axes(axes: Sequence[CalibrationConfig]) -> CalibrationConfig:
    """One configuration of the choices for valence and arousal, each of which holds for both axes."""
    names = ("mean", "loss", "l2", "variance")
    pairs = {name: (getattr(axes[0], name), getattr(axes[1], name)) for name in names}
    return CalibrationConfig(**{name: pair[0] if pair[0] == pair[1] else pair for name, pair in pairs.items()})


def gated(fusion: FusionConfig, thresholds: dict[str, Any]) -> FusionConfig:
    """The rule behind these gates."""
    return replace(fusion, **thresholds)


def complexity(fusion: FusionConfig) -> int:
    """Free numbers per axis: of the rule, its cap and its gates."""
    thresholds = sum(getattr(fusion, name) is not None for name in ("max_weight_ratio", *GATES))
    return METHOD_PARAMETERS[fusion.method] + thresholds
