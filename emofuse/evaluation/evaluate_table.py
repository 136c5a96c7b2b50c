"""Evaluate: stored predictions → calibrate → fuse → smooth each sequence → fused table, metrics, comparisons.

Cheap, and made from Parquet alone: every ablation and every sweep starts here, not at the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emofuse.affect import AXES
from emofuse.calibration import Calibration
from emofuse.calibration.served import known_together, served
from emofuse.config import EvaluationConfig, FusionConfig
from emofuse.errors import DataError
from emofuse.evaluation.rows import choose_split, row_counts
from emofuse.evaluation.sequences import smooth_sequences, stability
from emofuse.evaluation.statistics import EvaluationRows, System, compare, measure
from emofuse.evaluation.subgroups import subgroup_table
from emofuse.fusion.fused_variance import is_constant
from emofuse.fusion.gating import check_gate, gate
from emofuse.fusion.inputs import Fused
from emofuse.fusion.parameters import FusionParameters
from emofuse.fusion.rules import equal_weights, fixed_weights, inverse_variance
from emofuse.fusion.select import CORRELATED, chosen_fusion, clamp, fuse, resolved_method
from emofuse.io import storage
from emofuse.runs.run import Run
from emofuse.stabilizer.tuned import TunedStabilizer, with_tuned
from emofuse.tables.columns import both, column, floats, texts
from emofuse.tables.schema import EXPERTS, FUSED, PREDICTIONS, conform, read_metadata, with_metadata

LABEL_STATISTICS: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "median": np.median, "variance": np.var}
"""What constants are made of."""
FITTED_METRICS = {"mse": "rmse", "mae": "mae", "ccc": "ccc"}
"""The metric in which a calibration fitted for a loss is judged."""


@dataclass(frozen=True)
class EvaluationResult:
    """The tables of an evaluation (docs/architecture.md), the split that was evaluated, and its `row_counts`."""

    fused: pa.Table
    metrics: pa.Table
    comparisons: pa.Table
    split: str
    rows: dict[str, Any]
    subgroups: pa.Table

    def write(self, run: Run) -> None:
        """Write the three tables into a run directory."""
        storage.write_table(storage.join(run.fused, "part-0.parquet"), self.fused)
        storage.write_table(run.metrics, self.metrics)
        storage.write_table(run.comparisons, self.comparisons)
        if self.subgroups.num_rows:
            storage.write_table(run.subgroups, self.subgroups)


def evaluate_table(
    predictions: pa.Table, config: EvaluationConfig, calibration: Calibration | None = None
) -> EvaluationResult:
    """Calibrate, fuse, smooth and measure stored predictions.

    Args:
        predictions: a table of `schema.PREDICTIONS`; its metadata holds the cards of its experts.
        config: the options.
        calibration: the one that the options name, where it is loaded already.

    Raises:
        DataError: if the table is not a predictions table, repeats a row, or holds none of the split.
        ConfigError: if the options ask for what is not there.
    """
    table = conform(predictions, PREDICTIONS, "predictions").sort_by("sample_id")
    if not table.num_rows:
        raise DataError("the predictions have no rows")
    if (repeated := table.num_rows - pc.count_distinct(table.column("sample_id")).as_py()) > 0:
        raise DataError(f"sample_id must be unique in predictions; {repeated} row(s) repeat another's")
    if config.calibration and calibration is None:
        calibration = Calibration.load(config.calibration)
    if calibration:
        calibration.check_experts(_cards(table))
    config, tuned = with_tuned(config)
    by_expert = column(table, "in_sample") > 0
    table = mark_fitted(table, calibration, tuned)
    split = choose_split(table, config.split)
    experts = expert_predictions(table, calibration)
    mean = np.stack([experts[name].mean for name in EXPERTS])
    variance = np.stack([experts[name].variance for name in EXPERTS])
    fusion = chosen_fusion(config.fusion, calibration.fusion if calibration else None)
    fusion = replace(fusion, **tuned.gates) if tuned else fusion
    constant = {name: is_constant(expert.variance) for name, expert in experts.items()}
    check_gate(fusion, constant["face"])
    gates = gate(column(table, "face_score"), variance[1], column(table, "luma"), fusion)
    mean[1, np.logical_or.reduce(list(gates.values()))] = np.nan
    known = known_together(_cards(table), calibration)
    fused = fuse(mean, variance, fusion, known)
    smoothed = smooth_sequences(table, clamp(fused.mean), fused.variance, config.stabilizer)
    systems = {
        **{name: System(clamp(expert.mean), expert.variance) for name, expert in experts.items()},
        **baselines(mean, variance, fused, known.weights, floor=fusion.floor),
        **({"smoothed": System(smoothed.mean, smoothed.variance)} if smoothed.rows else {}),
        **(uncalibrated(table) if calibration else {}),
        **constants(table),
    }
    on = EvaluationRows.of(table, split, fused.weights[EXPERTS.index("face")])
    metrics = measure(on, systems, config.statistics)
    if smoothed.rows:
        metrics = pa.concat_tables([metrics, stability(smoothed, fused, table, on, config.stabilizer)])
    columns = fused_columns(systems, fused, experts) | {name: pa.array(shut) for name, shut in gates.items()}
    if calibration and fusion == chosen_fusion(FusionConfig(), calibration.fusion):
        columns |= interval_columns(calibration, fused, np.isfinite(mean).all(axis=2), config.statistics.confidence)
    out = conform(replace_columns(table, columns | smoothed.columns), FUSED, "fused")
    out = with_metadata(out, split=split, fusion=fusion_facts(fusion, known, constant))
    comparisons = compare(on, systems, config.statistics, fitted_metric=fitted_metric(calibration))
    subgroups = subgroup_table(table, config.by, on, systems, config.statistics.confidence)
    return EvaluationResult(out, metrics, comparisons, split, row_counts(table, split, by_expert), subgroups)


def fitted_metric(calibration: Calibration | None) -> str | None:
    """The metric in which a calibration is judged: that of its losses, mae where they differ; None without one."""
    if calibration is None:
        return None
    losses = {layers.mean_of(axis)[1] for layers in calibration.config.values() for axis in range(len(AXES))}
    return FITTED_METRICS[losses.pop()] if len(losses) == 1 else "mae"


def mark_fitted(table: pa.Table, *fitted: Calibration | TunedStabilizer | None) -> pa.Table:
    """`table` with the rows that any of these was fitted or tuned on marked `in_sample` too."""
    ids, seen = texts(table, "sample_id"), column(table, "in_sample") > 0
    for each in fitted:
        if each is not None:
            seen |= each.in_sample(ids)
    return replace_columns(table, {"in_sample": pa.array(seen)})


def expert_predictions(table: pa.Table, calibration: Calibration | None) -> dict[str, System]:
    """The experts' estimates as they are fused: after the calibration, or else after their cards' variance scaling."""
    cards = _cards(table)
    return {
        name: System(*served(name, both(table, name), both(table, name, "variance"), cards, calibration))
        for name in EXPERTS
    }


def uncalibrated(table: pa.Table) -> dict[str, System]:
    """What a calibration must beat: the experts and their fusion by default without it."""
    experts = expert_predictions(table, None)
    mean, variance = (np.stack([getattr(experts[name], part) for name in EXPERTS]) for part in ("mean", "variance"))
    plain = fuse(mean, variance, FusionConfig(), known_together(_cards(table), None))
    systems = experts | {"fused": System(plain.mean, plain.variance)}
    return {f"{name}_raw": System(clamp(each.mean), each.variance, each.source) for name, each in systems.items()}


def baselines(
    mean: np.ndarray, variance: np.ndarray, fused: Fused, weights: np.ndarray | None, *, floor: float
) -> dict[str, System]:
    """The fusion and what it must beat: inverse variance, equal weights, 0.6 / 0.4, the constant weight if fitted."""
    others = {
        "fused": fused,
        "inverse_variance": inverse_variance(mean, variance, floor=floor),
        "equal": equal_weights(mean, variance, floor=floor),
        "fixed_60_40": fixed_weights(mean, variance, floor=floor),
    }
    if weights is not None:
        others["constant_weight"] = fixed_weights(mean, variance, weights, floor=floor)
    return {name: System(clamp(each.mean), each.variance) for name, each in others.items()}


def fusion_facts(fusion: FusionConfig, known: FusionParameters, constant: dict[str, np.ndarray]) -> dict[str, Any]:
    """For the fused table's metadata: the rule, where its correlation is from, and weights that no row moves."""
    rule = resolved_method(fusion, known)
    return {
        "rule": rule,
        "correlation": known.source if rule in CORRELATED else None,
        "constant_weight": {
            name: [axis for axis, same in zip(AXES, each, strict=True) if same] for name, each in constant.items()
        },
    }


def interval_columns(
    calibration: Calibration, fused: Fused, present: np.ndarray, confidence: float
) -> dict[str, pa.Array]:
    """`fused_*_low` and `fused_*_high`: conformal intervals of that confidence, before any stabilizer."""
    ends = calibration.intervals(clamp(fused.mean), fused.variance, present, confidence)
    return {
        f"fused_{axis}_{name}": floats(end[:, i])
        for name, end in zip(("low", "high"), ends, strict=True)
        for i, axis in enumerate(AXES)
    }


def constants(table: pa.Table) -> dict[str, System]:
    """Mean and median of the training labels: the table's train split, else what the scene expert was trained on."""
    card = (_cards(table).get("scene") or {}).get("labels") or {}
    labels = {name: np.array(card.get(name, (np.nan, np.nan)), dtype=np.float64) for name in LABEL_STATISTICS}
    train = both(table)[texts(table, "split") == "train"]
    for i in range(len(AXES)):
        known = train[np.isfinite(train[:, i]), i]
        if len(known):
            for name, figure in LABEL_STATISTICS.items():
                labels[name][i] = figure(known)
    shape = (table.num_rows, 2)
    spread = np.broadcast_to(labels["variance"], shape)
    return {
        f"constant_{name}": System(np.broadcast_to(labels[name], shape), spread)
        for name in ("mean", "median")
        if np.isfinite(labels[name]).any()
    }


def fused_columns(systems: dict[str, System], fused: Fused, experts: dict[str, System]) -> dict[str, pa.Array]:
    """The columns of the fused table that fusion gives; the experts' as they were fused, which may leave the scale."""
    columns: dict[str, pa.Array] = {}
    for i, axis in enumerate(AXES):
        for name, each in (*experts.items(), ("fused", systems["fused"])):
            columns[f"{name}_{axis}"] = floats(each.mean[:, i])
            columns[f"{name}_{axis}_variance"] = floats(each.variance[:, i])
        columns[f"scene_weight_{axis}"] = floats(fused.weights[0, :, i])
    for name, expert in experts.items():
        there = np.isfinite(expert.mean).any(axis=1)
        source = np.broadcast_to(np.asarray(expert.source), expert.mean.shape)[:, 0]
        columns[f"{name}_variance_source"] = pa.array(source.astype(object), pa.string(), mask=~there)
    return columns


def replace_columns(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """`table` with these columns in the place of those of the same name, or at its end."""
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, values) if at >= 0 else table.append_column(name, values)
    return table


def _cards(table: pa.Table) -> dict[str, Any]:
    return read_metadata(table.schema).get("experts") or {}  # type: ignore[return-value]
