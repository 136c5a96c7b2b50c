"""Joining experts: the rules, the gates, and the choice among them.

Experts stand on the first axis, `(K, ...)`, typically `(2, N, 2)`: scene and face, rows, valence and
arousal. `emofuse.fusion.inputs` has the table of what happens where a mean or a variance is missing.
"""

from emofuse.fusion.gating import GATES, gate
from emofuse.fusion.inputs import Fused
from emofuse.fusion.parameters import FusionParameters, parameters_of_cards
from emofuse.fusion.rules import (
    best_linear_unbiased,
    equal_weights,
    fit_constant_weight,
    fixed_weights,
    inverse_variance,
    random_effects,
)
from emofuse.fusion.select import METHODS, fuse
from emofuse.fusion.stacking import Stack, fit_stack, stacked

__all__ = [
    "GATES",
    "METHODS",
    "Fused",
    "FusionParameters",
    "Stack",
    "best_linear_unbiased",
    "equal_weights",
    "fit_constant_weight",
    "fit_stack",
    "fixed_weights",
    "fuse",
    "gate",
    "inverse_variance",
    "parameters_of_cards",
    "random_effects",
    "stacked",
]
