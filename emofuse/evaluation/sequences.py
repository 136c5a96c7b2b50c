"""Sequences: gathered by key, put in order, smoothed, and measured, however their frames were sharded."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.config import StabilizerConfig
from emofuse.evaluation.statistics import EvaluationRows
from emofuse.fusion.inputs import Fused
from emofuse.metrics.stability import (
    SETTLED,
    frame_rate,
    hold_rate,
    jitter,
    jitter_reduction,
    lag,
    noise_variance,
    response_time,
    step_response,
    window_variance,
)
from emofuse.stabilizer import make_stabilizer, smooth
from emofuse.tables.columns import column, floats, texts
from emofuse.tables.schema import METRICS

SIGNED = ("jitter_reduction", "lag")
"""Figures that can be negative; an interval of the others ends at 0."""
MAX = {"jitter_reduction": 1.0, "hold_rate": 1.0}
"""What some figures cannot exceed."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SmoothedSequences:
    """What smoothing adds: columns for the fused table, a system to be evaluated, and stability figures.

    Attributes:
        columns: `smoothed_*` and `held_*`, null for rows that belong to no sequence.
        mean: (N, 2), NaN for rows that belong to no sequence or have no smoothed estimate.
        variance: (N, 2).
        held: (N, 2), where the filter refused the sample.
        rows: sequence name → its rows in order.
    """

    columns: dict[str, pa.Array]
    mean: np.ndarray
    variance: np.ndarray
    held: np.ndarray
    rows: dict[str, np.ndarray] = field(default_factory=dict)


def in_order(table: pa.Table) -> dict[str, np.ndarray]:
    """The rows of each sequence, by frame index and then timestamp.

    Args:
        table: with `sequence`, `frame_index`, `timestamp` and `sample_id`.
    """
    names = texts(table, "sequence")
    belongs = np.array([name is not None for name in names])
    if not belongs.any():
        return {}
    rows = np.flatnonzero(belongs)
    frame, time = column(table, "frame_index")[rows], column(table, "timestamp")[rows]
    number = pd.factorize(names[rows], sort=True)[0]
    order = np.lexsort((time, frame, number))
    starts = np.flatnonzero(np.diff(number[order])) + 1
    return {str(names[part[0]]): part for part in np.split(rows[order], starts)}


def smooth_sequences(
    table: pa.Table, mean: np.ndarray, variance: np.ndarray, config: StabilizerConfig
) -> SmoothedSequences:
    """Smooth every sequence of a table by itself.

    Args:
        table: of `schema.PREDICTIONS`.
        mean: the fused means, (N, 2).
        variance: the fused variances, (N, 2).
        config: the filter.
    """
    rows = in_order(table)
    out_mean, out_variance = np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    held = np.zeros(mean.shape, dtype=bool)
    belongs = np.zeros(len(mean), dtype=bool)
    time = column(table, "timestamp")
    _warn_of_gaps(rows, time, config)
    for mine in rows.values():
        affect, held[mine] = smooth(mean[mine], variance[mine], time[mine], config)
        out_mean[mine], out_variance[mine] = np.clip(affect.mean, -1, 1), affect.variance
        belongs[mine] = True
    columns: dict[str, pa.Array] = {}
    for i, axis in enumerate(AXES):
        columns[f"smoothed_{axis}"] = floats(out_mean[:, i])
        columns[f"held_{axis}"] = pa.array(held[:, i], mask=~belongs)
    return SmoothedSequences(columns, out_mean, out_variance, held, rows)


def _warn_of_gaps(rows: dict[str, np.ndarray], time: np.ndarray, config: StabilizerConfig) -> None:
    """Say so where frames lie so far apart that the filter starts anew with each: it then changes nothing."""
    spacing = {name: float(np.median(np.diff(time[mine]))) for name, mine in rows.items() if len(mine) > 1}
    wide = [name for name, seconds in spacing.items() if seconds > config.max_gap]
    if wide and config.filter != "none":
        _log.warning(
            f"frames of {len(wide)} sequence(s) are {spacing[wide[0]]:g} s apart or so ({wide[0]}), and the stabilizer "
            f"starts anew after {config.max_gap:g} s: it changes nothing there; raise --stabilizer.max-gap"
        )


def stability(
    smoothed: SmoothedSequences, fused: Fused, table: pa.Table, on: EvaluationRows, config: StabilizerConfig
) -> pa.Table:
    """Stability of the fused and the smoothed series, per sequence and over all (their mean, with its interval).

    Args:
        smoothed: of `smooth_sequences`.
        fused: the fusion, (N, 2).
        table: of `schema.PREDICTIONS`, for its timestamps.
        on: what is evaluated: a sequence counts if a frame of it does, and as in-sample if a frame of it is.
        config: the filter, which is also driven through a synthetic step at the frame rate and the median variance
            of what is evaluated.

    Returns:
        A table of `schema.METRICS`: jitter, noise_variance, window_variance, and of the smoothed series
        jitter_reduction, hold_rate, lag (frames behind the fused series) and response_time (frames to 90 % of a step).
    """
    found: list[dict[str, object]] = []
    mean, time = np.clip(fused.mean, -1, 1), column(table, "timestamp")
    evaluated = {name: rows for name, rows in smoothed.rows.items() if on.evaluated[rows].any()}
    response = _response([time[rows] for rows in evaluated.values()], fused.variance[on.evaluated], config)
    for name, rows in evaluated.items():
        raw, smooth = mean[rows], smoothed.mean[rows]
        figures = {
            "fused": {m.__name__: m(raw) for m in (jitter, noise_variance, window_variance)},
            "smoothed": {m.__name__: m(smooth) for m in (jitter, noise_variance, window_variance)},
        }
        figures["smoothed"]["jitter_reduction"] = jitter_reduction(raw, smooth)
        figures["smoothed"]["lag"] = lag(raw, smooth)
        figures["smoothed"]["response_time"] = response
        figures["smoothed"]["hold_rate"] = hold_rate(smoothed.held[rows])
        found += [
            {"system": system, "subset": f"sequence:{name}", "axis": axis, "metric": metric, "n": len(rows)}
            | {"value": _or_null(np.asarray(value)[i]), "n_groups": 1, "n_effective_groups": 1.0}
            | {"split": on.split, "in_sample": bool(on.in_sample[rows].any())}
            for system, values in figures.items()
            for metric, value in values.items()
            for i, axis in enumerate(AXES)
        ]
    return pa.Table.from_pylist(found + _over_all(found), schema=METRICS)


def _response(times: list[np.ndarray], variance: np.ndarray, config: StabilizerConfig) -> np.ndarray:
    """Frames to 90 % of a step of measurements as sure, and as often, as those of the sequences; (2,)."""
    stabilizer = make_stabilizer(config)
    known = variance[np.isfinite(variance).all(axis=1)]
    if stabilizer is None or not len(known):
        return np.zeros(2) if stabilizer is None else np.full(2, np.nan)
    rate = frame_rate(times, config.frame_rate)
    driven = step_response(stabilizer, variance=np.median(known, axis=0), fps=rate)
    return np.asarray(response_time(driven, SETTLED))


def _or_null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _over_all(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """The mean over sequences, with a t interval where there are two or more."""
    from scipy.stats import t as student

    parts: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for row in found:
        parts.setdefault(tuple(row[name] for name in ("in_sample", "system", "axis", "metric")), []).append(row)
    rows = []
    for (*_, metric), mine in parts.items():
        values = np.array([row["value"] for row in mine], dtype=np.float64)
        values = values[np.isfinite(values)]
        low = high = None
        if len(values) > 1:
            half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            low, high = float(values.mean() - half), float(values.mean() + half)
            low = low if metric in SIGNED else max(low, 0.0)
            high = min(high, MAX.get(str(metric), np.inf))
        rows.append(
            {
                **mine[0],
                "subset": "sequences",
                "value": float(values.mean()) if len(values) else None,
                "ci_low": low,
                "ci_high": high,
                "n": sum(int(str(row["n"])) for row in mine),
                "n_groups": len(mine),
                "n_effective_groups": float(len(mine)),
                "df": len(values) - 1.0 if len(values) > 1 else None,
            }
        )
    return rows
