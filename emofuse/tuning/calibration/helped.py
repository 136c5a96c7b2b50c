"""The last word of a calibration: what each expert gained, on test, or on a part of valid where there is no test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.calibration.files import plain
from emofuse.calibration.verdict import METRIC_OF_LOSS, has_helped, sentence
from emofuse.config import CalibrationConfig, StatisticsConfig
from emofuse.errors import DataError
from emofuse.tables.columns import both, column, group_names, texts


def helped(
    table: pa.Table,
    layers: Mapping[str, CalibrationConfig],
    objective: str | None,
    config: StatisticsConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """For run.json: what the mean calibration of each expert gained against its raw means and against constants.

    Args:
        table: of `schema.PREDICTIONS`, with rows of valid and, if there are any, of test.
        layers: by expert, as fitted on valid.
        objective: of the sweep; None where nothing was swept and each loss names the metric.
        config: confidence, margin and minimum effect.
        seed: of the part of valid that is set aside where there is no test.

    Returns:
        As `has_helped`, or for an expert with too few groups `expert` and `unknown`, the reason.
    """
    rows: list[dict[str, Any]] = []
    truth, groups, split = both(table), group_names(table), texts(table, "split")
    usable = np.isfinite(truth).all(axis=1) & (column(table, "in_sample") != 1)
    for name, layer in layers.items():
        mean = both(table, name)
        there = usable & np.isfinite(mean).all(axis=1)
        test = there & (split == "test")
        used = np.flatnonzero(there & (split == "valid") | test)
        try:
            rows += has_helped(
                name,
                layer,
                [_metric(objective, layer.mean_of(axis)[1]) for axis in range(len(AXES))],
                truth[used],
                mean[used],
                groups[used],
                test[used] if test.any() else None,
                config=config,
                seed=seed,
            )
        except DataError as error:
            rows.append({"expert": name, "unknown": str(error)})
    return [plain(row) for row in rows]


def _metric(objective: str | None, loss: str) -> str:
    """What was minimised: by the sweep, else by the fit."""
    if objective is None:
        return METRIC_OF_LOSS[loss]
    return "mae" if objective == "mae" else "rmse"


def helped_sentences(rows: list[dict[str, Any]]) -> list[str]:
    """Whether the calibration has helped, in words, for each expert and axis."""
    unknown = "has the calibration helped? {expert}: cannot be said: {unknown}"
    return [unknown.format(**row) if "unknown" in row else sentence(row) for row in rows]
