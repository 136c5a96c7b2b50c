"""The surface of a stabilizer sweep: from stored predictions to one row for each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.calibration import Calibration
from emofuse.calibration.served import known_together
from emofuse.config import FusionConfig, StabilizerConfig
from emofuse.errors import DataError
from emofuse.evaluation.sequences import in_order
from emofuse.fusion.gating import gate
from emofuse.fusion.parameters import FusionParameters
from emofuse.fusion.select import fuse
from emofuse.metrics.stability import frame_rate
from emofuse.stabilizer import Autocorrelation, Timing, fit_autocorrelation, fit_level_variance
from emofuse.stabilizer.tuned import GATES
from emofuse.tables.columns import both, column, group_names, texts
from emofuse.tables.schema import EXPERTS, read_metadata
from emofuse.tuning.stabilizer.grid import Grid
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
        groups: (S,), of each sequence the group that is never taken apart.
        known: of the experts together.
    """

    mean: np.ndarray
    variance: np.ndarray
    face_score: np.ndarray
    luma: np.ndarray
    truth: np.ndarray
    timestamp: np.ndarray
    rows: list[np.ndarray]
    groups: np.ndarray
    known: FusionParameters

    @classmethod
    def of(cls, fused: pa.Table, split: str, calibration: Calibration | None) -> SweepData:
        """The sequences of a split; "all" is all but test.

        Raises:
            DataError: if there are none.
        """
        table = rows_of(fused, split)
        rows = list(in_order(table).values())
        if not rows:
            raise DataError(f"no row of split {split!r} belongs to a sequence; the stabilizer is tuned on videos")
        trained, names = column(table, "in_sample") == 1, group_names(table)
        return cls(
            np.stack([both(table, name) for name in EXPERTS]),
            np.stack([both(table, name, "variance") for name in EXPERTS]),
            column(table, "face_score"),
            column(table, "luma"),
            np.where(trained[:, None], np.nan, both(table)),
            column(table, "timestamp"),
            rows,
            np.array([names[mine[0]] for mine in rows]),
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

    def packs(self, fusion: FusionConfig, timing: Timing, bundle: np.ndarray) -> tuple[list[Pack], np.ndarray]:
        """The fused sequences side by side, each in its bundle of groups, and the median variance of each axis."""
        mean, variance = self.fused(fusion)
        usual = np.nanmedian(variance[np.concatenate(self.rows)], axis=0)
        return pack(mean, variance, self.truth, self.timestamp, self.rows, timing, bundle), usual

    def autocorrelations(self, fusion: FusionConfig, frame_rate: float) -> dict[str, Autocorrelation]:
        """Of the errors of each expert and of the fusion, on labelled frames; empty where too few are side by side."""
        level = fit_level_variance(self.truth, self.timestamp, self.rows, frame_rate)
        if level is None:
            return {}
        series = dict(zip(EXPERTS, zip(self.mean, self.variance, strict=True), strict=True))
        series["fused"] = self.fused(fusion)
        found = {
            name: fit_autocorrelation(mean - self.truth, variance, self.timestamp, self.rows, frame_rate)
            for name, (mean, variance) in series.items()
        }
        return {name: replace(each, level_variance=level) for name, each in found.items() if each is not None}


def rows_of(fused: pa.Table, split: str) -> pa.Table:
    """The rows of a split; "all" is all but test, which is read once."""
    splits = texts(fused, "split")
    return fused.filter(pa.array(splits != "test" if split == "all" else splits == split))


def surface_of(
    sweep_data: SweepData,
    fusions: Sequence[FusionConfig],
    grid: Grid,
    base: StabilizerConfig,
    step: float,
    bundle: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """One row for each fusion and configuration of one filter: its parameters and what it does.

    `numerator` and `denominator` of a row are the sums of its loss, (B, 2), in each bundle of groups: errors over
    labelled frames, without labels steps over pairs of frames.

    Args:
        sweep_data: the sequences.
        fusions: the fusion behind each of its gates.
        grid: of one filter.
        base: options that are not swept.
        step: height of the step that times a response, reference units.
        bundle: (S,), of each sequence its bundle; by default one for all.
    """
    bundle = np.zeros(len(sweep_data.rows), dtype=np.int64) if bundle is None else bundle
    above, below = ("error", "n") if sweep_data.labelled else ("moved", "steps")
    rate = sweep_data.frame_rate(base.frame_rate)
    # Doing nothing gives nothing out where nothing came in.
    timing = Timing(rate, base.max_gap, 1e-9 if grid.filter == "none" else base.max_hold)
    rows: list[dict[str, Any]] = []
    for fusion in fusions:
        packs, usual = sweep_data.packs(fusion, timing, bundle)
        widest = max(len(each.sequences.lengths) for each in packs)
        for block in grid.blocks(max(1, ELEMENTS // (2 * widest))):
            update = block.update(base)
            metrics, sums = score(update, packs, len(block), timing)
            metrics["response_time"] = response_frames(update, len(block), usual, rate, step)
            gates = {name: getattr(fusion, name) for name in GATES}
            rows += [
                _row(block.filter, options | gates, {name: values[c] for name, values in metrics.items()})
                | {"numerator": sums[above][c], "denominator": sums[below][c]}
                for c, options in enumerate(block.rows)
            ]
    return rows


def _row(name: str, options: dict[str, Any], metrics: dict[str, np.ndarray]) -> dict[str, Any]:
    row: dict[str, Any] = {parameter: options.get(parameter) for parameter in PARAMETERS}
    for pair in PAIRS:
        value = options.get(pair)
        first, second = value if isinstance(value, tuple) else (value, value)
        row[pair], row[f"{pair}_arousal"] = first, second
    row["filter"] = name
    for metric, values in metrics.items():
        row[metric] = float(values.max() if metric == "response_time" else values.mean())
    per_axis = {f"{metric}_{axis}": float(v[i]) for metric, v in metrics.items() for i, axis in enumerate(AXES)}
    return row | per_axis
