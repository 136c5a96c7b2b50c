"""The surface of a stabilizer sweep: from stored predictions to one row for each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.calibration import Calibration
from emofuse.calibration.served import known_together
from emofuse.config import FusionConfig, StabilizerConfig, SweepConfig
from emofuse.errors import DataError
from emofuse.evaluation.sequences import in_order
from emofuse.fusion.gating import gate
from emofuse.fusion.parameters import FusionParameters
from emofuse.fusion.select import fuse
from emofuse.metrics.stability import frame_rate
from emofuse.stabilizer import Timing
from emofuse.tables.columns import both, column, texts
from emofuse.tables.schema import EXPERTS, read_metadata
from emofuse.tuning.stabilizer.grid import GATES, Grid
from emofuse.tuning.stabilizer.scoring import Pack, pack, response_frames, score

ELEMENTS = 65_536
"""Configurations x sequences x axes that advance together: what stays in a core's cache."""

PARAMETERS = (
    "filter",
    "alpha",
    "uncertainty_threshold",
    "threshold_quantile",
    "process_variance",
    "process_scale",
    "min_cutoff",
    "beta",
    *GATES,
)
PAIRS = ("uncertainty_threshold", "process_variance")
"""Parameters that may differ between the axes: their columns hold valence, and `_arousal` beside."""


@dataclass(frozen=True)
class SweepData:
    """What a sweep reads: the experts as they are fused, in sequences, with labels where there are any.

    Attributes:
        mean: (2, N, 2), scene and face.
        variance: (2, N, 2).
        face_score: (N,).
        luma: (N,).
        truth: (N, 2), NaN where there is no label, or an expert was trained on the image.
        timestamp: (N,) seconds.
        rows: of each sequence its rows, in order.
        known: of the experts together.
    """

    mean: np.ndarray
    variance: np.ndarray
    face_score: np.ndarray
    luma: np.ndarray
    truth: np.ndarray
    timestamp: np.ndarray
    rows: list[np.ndarray]
    known: FusionParameters

    @classmethod
    def of(cls, fused: pa.Table, split: str, calibration: Calibration | None) -> SweepData:
        """The sequences of a split.

        Raises:
            DataError: if there are none.
        """
        table = fused if split == "all" else fused.filter(pa.array(texts(fused, "split") == split))
        rows = list(in_order(table).values())
        if not rows:
            raise DataError(f"no row of split {split!r} belongs to a sequence; the stabilizer is tuned on videos")
        trained = column(table, "in_sample") == 1
        return cls(
            np.stack([both(table, name) for name in EXPERTS]),
            np.stack([both(table, name, "variance") for name in EXPERTS]),
            column(table, "face_score"),
            column(table, "luma"),
            np.where(trained[:, None], np.nan, both(table)),
            column(table, "timestamp"),
            rows,
            known_together(read_metadata(fused.schema).get("experts") or {}, calibration),  # type: ignore[arg-type]
        )

    @property
    def labelled(self) -> bool:
        """Whether any row of a sequence has a label that counts."""
        return bool(np.isfinite(self.truth[np.concatenate(self.rows)]).any())

    @property
    def frames(self) -> int:
        """Rows that belong to a sequence."""
        return sum(map(len, self.rows))

    def frame_rate(self, otherwise: float) -> float:
        """The median rate of frames, Hz."""
        return frame_rate((self.timestamp[rows] for rows in self.rows), otherwise)

    def fused(self, fusion: FusionConfig) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances (N, 2) under a fusion with its gates, as evaluate makes them."""
        shut = gate(self.face_score, self.variance[1], self.luma, fusion)
        mean = self.mean.copy()
        mean[1, np.logical_or.reduce(list(shut.values()))] = np.nan
        joined = fuse(mean, self.variance, fusion, self.known)
        return np.clip(joined.mean, -1, 1), joined.variance

    def packs(self, fusion: FusionConfig, timing: Timing) -> tuple[list[Pack], np.ndarray]:
        """The fused sequences side by side, and the median variance of each axis."""
        mean, variance = self.fused(fusion)
        usual = np.nanmedian(variance[np.concatenate(self.rows)], axis=0)
        return pack(mean, variance, self.truth, self.timestamp, self.rows, timing), usual


def surface_of(
    sweep_data: SweepData, fusions: Sequence[FusionConfig], grid: Grid, base: StabilizerConfig, step: float
) -> list[dict[str, Any]]:
    """One row for each fusion and configuration of one filter: its parameters and what it does.

    Args:
        sweep_data: the sequences.
        fusions: the fusion behind each of its gates.
        grid: of one filter.
        base: options that are not swept.
        step: height of the step that times a response, reference units.
    """
    rate = sweep_data.frame_rate(base.frame_rate)
    # Doing nothing gives nothing out where nothing came in.
    timing = Timing(rate, base.max_gap, 1e-9 if grid.filter == "none" else base.max_hold)
    rows: list[dict[str, Any]] = []
    for fusion in fusions:
        packs, usual = sweep_data.packs(fusion, timing)
        widest = max(len(each.sequences.lengths) for each in packs)
        for block in grid.blocks(max(1, ELEMENTS // (2 * widest))):
            update = block.update(base)
            figures = score(update, packs, len(block), timing)
            figures["response_time"] = response_frames(update, len(block), usual, rate, step)
            gates = {name: getattr(fusion, name) for name in GATES}
            rows += [
                _row(block.filter, options | gates, {name: values[c] for name, values in figures.items()})
                for c, options in enumerate(block.rows)
            ]
    return rows


def evaluated(rows: list[dict[str, Any]], sweep: SweepConfig, frame_rate: float, *, labelled: bool) -> pa.Table:
    """The surface with what is minimised, what may be chosen, and which configurations nothing beats.

    The objective is the error where there are labels, else the jitter of configurations that respond in time. One
    that answers too seldom has none either way. So a frozen output cannot win.

    Args:
        rows: of `surface_of`, one of them doing nothing behind no gate.
        sweep: the bounds.
        frame_rate: Hz.
        labelled: whether there are labels.

    Returns:
        A table sorted by objective; columns `objective`, `pareto` (none is calmer, quicker and, with labels, more
        accurate at once) and `chosen` besides those of `surface_of`.
    """
    target = "mae" if labelled else "jitter"
    plain = next(row for row in rows if row["filter"] == "none" and all(row[name] is None for name in GATES))
    slowest = max(1, int(np.floor(sweep.max_response * frame_rate + 1e-9)))
    for row in rows:
        prompt = labelled or row["response_time"] <= slowest
        row["feasible"] = bool(prompt and row["coverage"] >= sweep.min_coverage * plain["coverage"])
        row["objective"] = row[target] if row["feasible"] and np.isfinite(row[target]) else None
    costs = np.array(
        [[row[name] for name in ("response_time", "jitter", "mae")[: 3 if labelled else 2]] for row in rows]
    )
    answers = np.array([row["coverage"] >= sweep.min_coverage * plain["coverage"] for row in rows])
    front = np.zeros(len(rows), dtype=bool)
    front[answers] = pareto(costs[answers])
    last = float("inf")
    order = sorted(
        range(len(rows)),
        key=lambda i: (
            last if rows[i]["objective"] is None else rows[i]["objective"],
            rows[i]["response_time"],
            rows[i]["jitter"],
        ),
    )
    ordered = [rows[i] | {"pareto": bool(front[i]), "chosen": place == 0} for place, i in enumerate(order)]
    names = [*PARAMETERS, *(f"{name}_arousal" for name in PAIRS), "objective"]
    names += [name for name in ordered[0] if name not in names]
    columns = {name: [row.get(name) for row in ordered] for name in names}
    return pa.table({name: pa.array(values, _kind(name), from_pandas=True) for name, values in columns.items()})


def pareto(costs: np.ndarray) -> np.ndarray:
    """Which rows of (N, K) costs no other row equals or beats in all and beats in one; NaN never."""
    front = np.zeros(len(costs), dtype=bool)
    best = np.empty((0, costs.shape[1]))
    for i in np.lexsort(costs.T[::-1]):
        if not np.isfinite(costs[i]).all() or (best <= costs[i]).all(axis=1).any():
            continue
        front[i] = True
        best = np.vstack([best, costs[i]])
    return front


def _row(name: str, options: dict[str, Any], figures: dict[str, np.ndarray]) -> dict[str, Any]:
    row: dict[str, Any] = {parameter: options.get(parameter) for parameter in PARAMETERS}
    for pair in PAIRS:
        value = options.get(pair)
        first, second = value if isinstance(value, tuple) else (value, value)
        row[pair], row[f"{pair}_arousal"] = first, second
    row["filter"] = name
    for figure, values in figures.items():
        row[figure] = float(values.max() if figure == "response_time" else values.mean())
    per_axis = {f"{figure}_{axis}": float(v[i]) for figure, v in figures.items() for i, axis in enumerate(AXES)}
    return row | per_axis


def _kind(name: str) -> pa.DataType:
    if name == "filter":
        return pa.string()
    return pa.bool_() if name in ("feasible", "pareto", "chosen") else pa.float64()
