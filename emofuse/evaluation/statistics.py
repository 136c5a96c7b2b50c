"""The metrics and comparisons tables: every system, axis and subset, with group-bootstrap intervals.

Rows whose image some expert was trained on (`in_sample`) are evaluated apart and never with the others.
Holm's correction runs over all comparisons of one subset together: pairs, axes and metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from emofuse.config import StatisticsConfig
from emofuse.metrics.resampling.metric_tables import difference_table, metric_table
from emofuse.metrics.resampling.uncertainty_table import uncertainty_table
from emofuse.metrics.significance import holm
from emofuse.tables.columns import both, column, group_names, texts
from emofuse.tables.schema import COMPARISONS, METRICS

PAIRS = (
    ("fused", "scene"),
    ("fused", "face"),
    ("fused", "equal"),
    ("fused", "fixed_60_40"),
    ("fused", "constant_weight"),
    ("fused", "constant_mean"),
    ("fused", "constant_median"),
    ("scene", "constant_median"),
    ("face", "constant_median"),
    ("smoothed", "fused"),
    ("scene", "scene_raw"),
    ("face", "face_raw"),
    ("fused", "fused_raw"),
)
"""What is compared with what; the first is the one of which better or worse is said."""
COMPARED_METRICS = ("mae", "ccc")
LOWER_IS_BETTER = ("mae", "rmse")
ALPHA = 0.05
MIN_ROWS = 2


@dataclass(frozen=True, eq=False)
class System:
    """Estimates to be evaluated, and for experts where their variances came from.

    Attributes:
        mean: (N, 2), reference scale, NaN where there is no prediction.
        variance: (N, 2), NaN where unknown.
        source: (N, 2) of "model", "pooled", "none"; None where that makes no sense.
    """

    mean: np.ndarray
    variance: np.ndarray
    source: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class EvaluationRows:
    """The rows that are evaluated.

    Attributes:
        truth: (N, 2), NaN where there is no label or the row is not evaluated.
        groups: (N,), the unit of resampling.
        has_face: (N,), whether a face was found.
        no_face: (N,), whether one was sought and none found.
        in_sample: (N,), whether the row took part in fitting an expert or the calibration.
        split: which split it is.
        evaluated: (N,), whether the row belongs to it.
    """

    truth: np.ndarray
    groups: np.ndarray
    has_face: np.ndarray
    no_face: np.ndarray
    in_sample: np.ndarray
    split: str
    evaluated: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, split: str) -> EvaluationRows:
        """The rows of `split` in a predictions table.

        Args:
            table: of `schema.PREDICTIONS`.
            split: "all" or one of `schema.SPLITS`.
        """
        splits = texts(table, "split")
        evaluated = np.ones(len(splits), dtype=bool) if split == "all" else splits == split
        in_sample = column(table, "in_sample") > 0
        truth = np.where(evaluated[:, None], both(table), np.nan)
        faces = column(table, "face_count")
        return cls(truth, group_names(table), faces > 0, faces == 0, in_sample, split, evaluated)

    def parts(self) -> Iterator[tuple[str, bool, np.ndarray]]:
        """(subset, in sample, rows) for every subset that has labelled rows."""
        labelled = np.isfinite(self.truth).any(axis=1)
        subsets = {"all": np.ones_like(labelled), "face": self.has_face, "no_face": self.no_face}
        for inside in (False, True):
            for name, mask in subsets.items():
                rows = np.flatnonzero(labelled & mask & (self.in_sample == inside))
                if len(rows) >= MIN_ROWS:
                    yield name, inside, rows


def measure(on: EvaluationRows, systems: dict[str, System], config: StatisticsConfig, seed: int) -> pa.Table:
    """A table of `schema.METRICS`: accuracy with intervals, and uncertainty where variances are known."""
    found: list[dict[str, object]] = []
    for subset, inside, rows in on.parts():
        where = {"split": on.split, "in_sample": inside, "subset": subset}
        means = {name: system.mean[rows] for name, system in systems.items()}
        accuracy = metric_table(
            on.truth[rows],
            means,
            on.groups[rows],
            resamples=config.resamples,
            confidence=config.confidence,
            rng=np.random.default_rng(seed),
        )
        certainty = uncertainty_table(
            on.truth[rows],
            {name: (system.mean[rows], system.variance[rows]) for name, system in systems.items()},
            on.groups[rows],
            resamples=config.resamples,
            confidence=config.confidence,
            rng=np.random.default_rng(seed),
        )
        found += [asdict(row) | where for row in (*accuracy, *certainty) if row.n]
    return _table(found, METRICS)


def compare(on: EvaluationRows, systems: dict[str, System], config: StatisticsConfig, seed: int) -> pa.Table:
    """A table of `schema.COMPARISONS`, each pair on the rows that both evaluate."""
    found: list[dict[str, object]] = []
    pairs = [pair for pair in PAIRS if all(name in systems for name in pair)]
    for subset, inside, rows in on.parts():
        differences = difference_table(
            on.truth[rows],
            {name: system.mean[rows] for name, system in systems.items()},
            pairs,
            on.groups[rows],
            metrics=COMPARED_METRICS,
            resamples=config.resamples,
            confidence=config.confidence,
            rng=np.random.default_rng(seed),
        )
        differences = [row for row in differences if row.n]
        adjusted = holm([row.p for row in differences])
        found += [
            asdict(row)
            | {"split": on.split, "in_sample": inside, "subset": subset, "p_holm": float(p)}
            | {"better": better(row.a, row.b, row.metric, (row.ci_low, row.ci_high), float(p))}
            for row, p in zip(differences, adjusted, strict=True)
        ]
    return _table(found, COMPARISONS)


def better(a: str, b: str, metric: str, interval: tuple[float, float], p_holm: float) -> str | None:
    """The name of the better system, or None where none is shown: p below .05 and the interval on one side of 0."""
    low, high = interval
    if not (p_holm < ALPHA and (low > 0 or high < 0)):
        return None
    return b if (low > 0) == (metric in LOWER_IS_BETTER) else a


def _table(found: Iterable[dict[str, object]], schema: pa.Schema) -> pa.Table:
    rows = [{name: _or_null(row.get(name)) for name in schema.names} for row in found]
    return pa.Table.from_pylist(rows, schema=schema)


def _or_null(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value
