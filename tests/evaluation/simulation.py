"""How often the evaluation is wrong, and how often it sees what is there, on made-up rows in groups.

The tables are those that `evaluate_table` writes: `compare` and `measure` of `evaluation.statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emofuse.config import StatisticsConfig
from emofuse.evaluation.statistics import EvaluationRows, System, compare, measure

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


def tables(
    truth: np.ndarray, fused: np.ndarray, scene: np.ndarray, groups: np.ndarray
) -> tuple[list[dict], list[dict]]:
    """Rows of the metrics of "fused" and of the comparisons, where every row has a face that was used."""
    every, unknown = np.ones(len(truth), dtype=bool), np.full(truth.shape, np.nan)
    on = EvaluationRows(
        truth=truth,
        groups=groups,
        face_used=np.ones(truth.shape, dtype=bool),
        no_face=~every,
        in_sample=~every,
        split="test",
        evaluated=every,
        deviation=unknown,
        raters=unknown,
    )
    systems = {"fused": System(fused, unknown), "scene": System(scene, unknown)}
    metrics = measure(on, {"fused": systems["fused"]}, StatisticsConfig())
    return metrics.to_pylist(), compare(on, systems, StatisticsConfig()).to_pylist()


def simulate(scenario: Scenario, repeats: int, *, seed: int = 0) -> Characteristics:
    """The shares over `repeats` draws of a scenario."""
    own, other = scenario.ccc
    found = []
    for repeat in range(repeats):
        metrics, comparisons = tables(*draw(scenario, np.random.default_rng([seed, scenario.groups, repeat])))
        judged = [row for row in comparisons if row["family"] == "primary"]
        # The intervals of the judged are at the level that Holm's correction leaves them; these are at 95 %.
        plain = [row for row in comparisons if row["family"] == "exploratory" and row["subset"] == "all"]
        words = [row["verdict"] for row in judged]
        found.append(
            [
                np.mean([word == "better" for word in words]),
                np.mean([word == "worse" for word in words]),
                float(not {"better", "worse"}.isdisjoint(words)),
                np.mean([row["p"] < 0.05 for row in judged]),
                covered(plain, "mae", scenario.mae_difference),
                covered([row for row in metrics if row["subset"] == "all"], "ccc", own),
                covered(plain, "ccc", own - other),
                *(np.mean([row[name] for row in judged]) for name in ("mde", "df", "n_effective_groups")),
                np.mean([(row["difference"] - scenario.mae_difference) ** 2 for row in judged]),
            ]
        )
    return Characteristics(repeats, *(float(mean) for mean in np.mean(found, axis=0)))


def covered(rows: list[dict], metric: str, truth: float) -> float:
    """The share of the intervals of a metric that hold the truth."""
    return float(np.mean([row["ci_low"] <= truth <= row["ci_high"] for row in rows if row["metric"] == metric]))
