"""How often the declared comparison is wrong, and how often it sees what is there, on made-up rows in groups.

Any function that compares two systems can be put to it, so that what is validated is what a command calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emofuse.metrics.significance.conclusion import BETTER, WORSE, Conclusion
from emofuse.metrics.significance.declared import declared
from emofuse.metrics.significance.estimate import Inference
from emofuse.metrics.significance.jackknife import jackknife, jackknife_difference

LABEL_SPREAD = 0.4
ERROR_SPREAD = 0.2 * np.sqrt(2)
"""Standard deviations of labels and of errors, reference scale."""


@dataclass(frozen=True)
class Scenario:
    """Two systems whose errors are alike, on rows in groups of geometric sizes.

    Attributes:
        groups: how many.
        less_error: by how much the errors of the first are smaller, as a share of the second's; 0: equally good.
        group_correlation: of errors within a group.
        error_correlation: of the two systems' errors on a row; a fusion's with those of its stronger part is high.
        mean_size: rows of a group on average, 1 or more.
    """

    groups: int
    less_error: float = 0.0
    group_correlation: float = 0.4
    error_correlation: float = 0.925
    mean_size: float = 3.4

    @property
    def mae_difference(self) -> float:
        """The true MAE of the first less that of the second."""
        return float(-self.less_error * ERROR_SPREAD * np.sqrt(2 / np.pi))

    @property
    def ccc(self) -> tuple[float, float]:
        """The true CCC of both: of a truth of variance s^2 and an independent error of variance e^2, 2s²/(2s²+e²)."""
        own, other = (2 * LABEL_SPREAD**2 / (2 * LABEL_SPREAD**2 + e**2) for e in self._errors)
        return float(own), float(other)

    @property
    def _errors(self) -> tuple[float, float]:
        return (1 - self.less_error) * ERROR_SPREAD, ERROR_SPREAD


@dataclass(frozen=True)
class Compared:
    """What one comparison found, each of valence and arousal.

    Attributes:
        mae: the declared family, fused against scene.
        ccc: of the first system.
        ccc_difference: of the first less the second.
    """

    mae: tuple[Conclusion, Conclusion]
    ccc: tuple[Inference, Inference]
    ccc_difference: tuple[Inference, Inference]


Compare = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Compared]
"""Of truth, first and second, each (N, 2), and groups (N,)."""


@dataclass(frozen=True)
class Characteristics:
    """Shares over the repetitions; those of single comparisons are over both axes.

    Attributes:
        repeats: how many draws of data.
        better, worse: the first was called so, per comparison.
        any: at least one comparison of the family called it so.
        rejected: p below .05 before Holm's correction.
        mae_coverage, ccc_coverage, ccc_difference_coverage: the 95 % interval held the truth.
        minimum_detectable: of the MAE, on average.
        df: of the MAE, on average.
        n_effective_groups: on average.
        square: mean squared error of the MAE's difference.
    """

    repeats: int
    better: float
    worse: float
    any: float
    rejected: float
    mae_coverage: float
    ccc_coverage: float
    ccc_difference_coverage: float
    minimum_detectable: float
    df: float
    n_effective_groups: float
    square: float


def draw(scenario: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth, first and second system, each (N, 2), and groups (N,) of one made-up data set."""
    sizes = rng.geometric(1 / scenario.mean_size, scenario.groups)
    group = np.repeat(np.arange(scenario.groups), sizes)

    def errors() -> np.ndarray:
        of_group, of_row = rng.normal(size=(scenario.groups, 2))[group], rng.normal(size=(len(group), 2))
        shared = scenario.group_correlation
        return np.sqrt(shared) * of_group + np.sqrt(1 - shared) * of_row

    truth, common = rng.normal(0, LABEL_SPREAD, (len(group), 2)), errors()
    both, alone = np.sqrt(scenario.error_correlation), np.sqrt(1 - scenario.error_correlation)
    first, second = ((both * common + alone * errors()) * spread for spread in scenario._errors)
    return truth, truth + first, truth + second, group


def primary(truth: np.ndarray, a: np.ndarray, b: np.ndarray, groups: np.ndarray) -> Compared:
    """The primary family of `declared`, every row with a face, and CCC by the jackknife."""
    rows = declared(truth, {"fused": a, "scene": b}, groups, np.ones(len(truth), dtype=bool))
    valence, arousal = (row.conclusion for row in rows if row.conclusion is not None)
    ccc, difference = [], []
    for y, first, second in zip(truth.T, a.T, b.T, strict=True):
        ccc.append(jackknife(y, first, groups, metrics=["ccc"])["ccc"])
        difference.append(jackknife_difference(y, first, second, groups, metrics=["ccc"])["ccc"])
    return Compared((valence, arousal), (ccc[0], ccc[1]), (difference[0], difference[1]))


def simulate(scenario: Scenario, repeats: int, *, compare: Compare = primary, seed: int = 0) -> Characteristics:
    """The shares over `repeats` draws of a scenario; the same draws for every `compare`."""
    own, other = scenario.ccc
    rows = []
    for repeat in range(repeats):
        found = compare(*draw(scenario, np.random.default_rng([seed, scenario.groups, repeat])))
        words = [each.word for each in found.mae]
        mae = [each.difference for each in found.mae]
        rows.append(
            [
                np.mean([word == BETTER for word in words]),
                np.mean([word == WORSE for word in words]),
                float(not {BETTER, WORSE}.isdisjoint(words)),
                np.mean([each.p < 0.05 for each in mae]),
                _covers(mae, scenario.mae_difference),
                _covers(found.ccc, own),
                _covers(found.ccc_difference, own - other),
                np.mean([each.minimum_detectable for each in mae]),
                np.mean([each.df for each in mae]),
                np.mean([each.n_effective_groups for each in mae]),
                np.mean([(each.estimate - scenario.mae_difference) ** 2 for each in mae]),
            ]
        )
    means = [float(mean) for mean in np.mean(rows, axis=0)]
    return Characteristics(repeats, *means)


def _covers(intervals: list[Inference] | tuple[Inference, Inference], truth: float) -> float:
    return float(np.mean([each.low <= truth <= each.high for each in intervals]))
