"""Has the calibration helped? An answer in words for each expert and axis, in the metric it was fitted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emofuse.affect import AXES
from emofuse.calibration.evaluator import CalibrationEvaluator
from emofuse.config import CalibrationConfig, StatisticsConfig
from emofuse.metrics.significance.conclusion import BETTER, EQUIVALENT, INCONCLUSIVE, NOT_WORSE, WORSE

METRIC_OF_LOSS = {"mae": "mae", "mse": "rmse", "ccc": "ccc"}
VERSUS = ("difference", "ci_low", "ci_high", "p", "p_holm", "verdict", "mde")
KEPT = ("without", "with", *VERSUS, "n", "n_groups", "n_effective_groups", "df", "constant")
SAID = {
    BETTER: "yes",
    WORSE: "no, it harms",
    EQUIVALENT: "no, the two are equivalent",
    NOT_WORSE: "it does no harm, and more is not shown",
    INCONCLUSIVE: "inconclusive",
}
VERSUS_CONSTANT = {
    BETTER: "better than",
    WORSE: "worse than",
    EQUIVALENT: "equivalent to",
    NOT_WORSE: "not worse than",
    INCONCLUSIVE: "not shown to differ from",
}


def has_helped(
    expert: str,
    layers: CalibrationConfig,
    metrics: Sequence[str],
    truth: np.ndarray,
    mean: np.ndarray,
    groups: np.ndarray,
    test: np.ndarray | None,
    *,
    config: StatisticsConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """What `CalibrationEvaluator.ablation_study` says of an expert's mean calibration, a row for each axis.

    Args:
        expert: its name.
        layers: its calibration.
        metrics: of valence and of arousal: mae, rmse or ccc.
        truth: (N, 2), reference scale, of the rows it is fitted on and of those it is evaluated on.
        mean: (N, 2), the expert's.
        groups: (N,), what must not be split.
        test: bool (N,), rows it is evaluated on; None sets a fifth of the groups aside.
        config: confidence, margin and minimum effect.
        seed: of the split.

    Returns:
        `expert`, `axis`, `metric`, `evaluated_on` ("test" or "set aside"), what the evaluator gives under the names in
        `KEPT`, and under `constant_…` its comparison with the constant.

    Raises:
        DataError: if there are too few groups.
    """
    names = [f"{metric}_{axis[0]}" for metric, axis in zip(metrics, AXES, strict=True)]
    evaluator = CalibrationEvaluator(
        layers=layers,
        names=names,
        alpha=round(1 - config.confidence, 9),
        margin=config.margin,
        min_effect=config.min_effect,
        seed=seed,
    )
    found = evaluator.ablation_study(mean, truth, groups=groups, test=test)
    return [
        {"expert": expert, "axis": axis, "metric": metric, "evaluated_on": "set aside" if test is None else "test"}
        | _plain(found[name])
        for name, axis, metric in zip(names, AXES, metrics, strict=True)
    ]


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    versus = entry.get("versus_constant", {})
    return {key: entry[key] for key in KEPT if key in entry} | {
        f"constant_{key}": versus[key] for key in VERSUS if key in versus
    }


def sentence(row: Mapping[str, Any]) -> str:
    """A row of `has_helped` in words."""
    said = SAID[row["verdict"]]
    if row["verdict"] == BETTER and row.get("constant_verdict") == EQUIVALENT:
        said = "yes, but it is no better than a constant"
    elif row["verdict"] == BETTER and row.get("constant_verdict") == WORSE:
        said = "yes, but a constant is better still"
    versus = ""
    if "constant_verdict" in row:
        found = VERSUS_CONSTANT[row["constant_verdict"]]
        versus = f"; {found} the constant of the validation labels, {row['constant']:.4f} {_span(row, 'constant_')}"
    where = "the test split" if row["evaluated_on"] == "test" else "a fifth of the validation groups, set aside"
    return (
        f"has the calibration helped? {row['expert']}, {row['axis']}: {said}: {row['metric'].upper()} "
        f"{row['with']:.4f}, {row['without']:.4f} without it {_span(row)}{versus}; "
        f"{row['n']:,} rows of {row['n_groups']:,} groups, effectively {row['n_effective_groups']:.0f}, {where}; "
        f"a difference of {row['mde']:.3f} would have been seen 8 times of 10"
    )


def _span(row: Mapping[str, Any], part: str = "") -> str:
    return f"({row[f'{part}difference']:+.4f} [{row[f'{part}ci_low']:+.4f}, {row[f'{part}ci_high']:+.4f}])"
