"""Tests and intervals that are one and the same, over groups of rows that belong together, and their words.

`ratio_mean` infers means and mean differences, `jackknife` and `jackknife_difference` the metrics that are no
means, `proportion` shares; each gives an `Inference`. `conclude` turns one into a `Conclusion` and `sentence` that
into plain words; `declared` does so for the comparisons that are declared beforehand, family by family.
"""

from emofuse.metrics.significance.ceilings import Ceilings, human_ceilings
from emofuse.metrics.significance.conclusion import Conclusion, conclude, sentence
from emofuse.metrics.significance.declared import Comparison, Words, declared, exploratory
from emofuse.metrics.significance.estimate import Inference, t_interval
from emofuse.metrics.significance.families import conclude_family, holm_levels, holm_p
from emofuse.metrics.significance.jackknife import jackknife, jackknife_difference
from emofuse.metrics.significance.means import ratio_mean, sign_permutation
from emofuse.metrics.significance.proportions import proportion
from emofuse.metrics.significance.resampled import corrected_resampled_ttest
from emofuse.metrics.significance.systems import accuracy, certainty, difference

__all__ = [
    "Ceilings",
    "Comparison",
    "Conclusion",
    "Inference",
    "Words",
    "accuracy",
    "certainty",
    "conclude",
    "conclude_family",
    "corrected_resampled_ttest",
    "declared",
    "difference",
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
