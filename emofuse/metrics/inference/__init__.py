"""Tests and intervals that are one and the same, over groups of rows that belong together, and their words.

`ratio_mean` infers means and mean differences, `jackknife` and `jackknife_difference` the metrics that are no
means, `proportion` shares; each gives an `Inference`. `conclude` turns one into a `Conclusion` and `sentence` that
into plain words; `declared` does so for the comparisons that are declared beforehand, family by family.
"""

from emofuse.metrics.inference.ceilings import Ceilings, human_ceilings
from emofuse.metrics.inference.conclusion import Conclusion, conclude, sentence
from emofuse.metrics.inference.declared import Comparison, Words, declared, exploratory
from emofuse.metrics.inference.estimate import Inference, t_interval
from emofuse.metrics.inference.families import conclude_family, holm_levels, holm_p
from emofuse.metrics.inference.jackknife import jackknife, jackknife_difference
from emofuse.metrics.inference.means import ratio_mean, sign_permutation
from emofuse.metrics.inference.proportions import proportion

__all__ = [
    "Ceilings",
    "Comparison",
    "Conclusion",
    "Inference",
    "Words",
    "conclude",
    "conclude_family",
    "declared",
    "exploratory",
    "holm_levels",
    "holm_p",
    "human_ceilings",
    "jackknife",
    "jackknife_difference",
    "proportion",
    "ratio_mean",
    "sentence",
    "sign_permutation",
    "t_interval",
]
