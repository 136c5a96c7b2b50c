"""What the rules need beside the rows: fitted by a calibration, stored with the experts, or assumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from emofuse.fusion.fused_variance import FusedScale
from emofuse.fusion.joint_parameters import JointParameters, assumed_joint_parameters
from emofuse.fusion.stacking import Stack
from emofuse.tables.schema import EXPERTS

IDENTITY = ("expert", "network", "sha256", "backbone", "head", "views")
"""Entries of an expert's card without which it would be another expert."""
FITTED = ("labels", "pooled_error", "variance_scale", "variance_floor")
"""Entries that heads of one form differ by, since each was fitted on labels of its own."""
FOR_SQUARED_ERROR = ("mse", "gaussian_nll")
"""Losses in a card whose minimiser is the posterior mean, as the joint Gaussian takes it."""
PAIR = Path(__file__).with_name("embedded_pair.json")
Source = Literal["calibration", "stored pair", "assumed correlation"]


@dataclass(frozen=True, eq=False)
class FusionParameters:
    """What is known of the experts together.

    Attributes:
        source: where the correlation of their errors comes from.
        joint: that correlation and what belongs to it; None where nothing but an assumption is to be had.
        rule: what "auto" takes.
        pooled: (K,) or (K, A), for unknown variances.
        weights: (K, A), constant weights, fitted on valid.
        stack: fitted on valid.
        scales: by rule, the scale of its fused variance, fitted on valid.
    """

    source: Source = "assumed correlation"
    joint: JointParameters | None = None
    rule: Literal["joint_gaussian", "best_linear_unbiased"] = "best_linear_unbiased"
    pooled: ArrayLike | None = None
    weights: np.ndarray | None = None
    stack: Stack | None = None
    scales: Mapping[str, FusedScale] = field(default_factory=dict)


def parameters_of_cards(cards: Mapping[str, Mapping[str, Any] | None]) -> FusionParameters:
    """What is known of experts without a calibration: the stored pair if these are its experts, else an assumption.

    Args:
        cards: of "scene" and "face", as the predictions' metadata has them.
    """
    both = [cards.get(name) or {} for name in EXPERTS]
    identities, joint = _stored()
    if all(identity(card) == stored for card, stored in zip(both, identities, strict=True)):
        return FusionParameters("stored pair", joint, "joint_gaussian")
    if all(card.get("loss") in FOR_SQUARED_ERROR and "labels" in card for card in both):
        labels = both[1]["labels"]
        return FusionParameters(joint=assumed_joint_parameters(labels["mean"], labels["variance"]))
    return FusionParameters()


def identity(card: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a card that tell its expert from every other, heads of the same form included."""
    return {key: card[key] for key in (*IDENTITY, *FITTED) if key in card}


@cache
def _stored() -> tuple[list[dict[str, Any]], JointParameters]:
    """The identities of the experts that ship with the package, and what is known of them together."""
    content = json.loads(PAIR.read_text())
    return [content["experts"][name] for name in EXPERTS], JointParameters.from_dict(content["joint"])
