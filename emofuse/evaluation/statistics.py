"""The metrics and comparisons tables: every system, axis and subset, with group-robust intervals.

Rows that took part in fitting an expert or the calibration (`in_sample`) are evaluated apart and never with the
others; only the others are judged. What is judged is declared beforehand (`significance.declared`), family by family;
all other pairs are exploratory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.config import StatisticsConfig
from emofuse.metrics.significance import Comparison, Inference, Words, accuracy, certainty, human_ceilings
from emofuse.metrics.significance.declared import PRIMARY, declared, exploratory
from emofuse.tables.columns import both, column, group_names
from emofuse.tables.schema import COMPARISONS, METRICS
from emofuse.tables.splits import rows_of

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
"""What is compared with what, where it is not declared."""
COMPARED_METRICS = ("mae", "ccc")
CEILING, ONE_RATER = "ceiling", "one_rater"
"""A perfect model, and one human rater, as systems among the others."""
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
        groups: (N,), rows that belong together.
        face_used: (N, 2), whether a face had a part in the fused estimate.
        no_face: (N,), whether one was sought and none found.
        in_sample: (N,), whether the row took part in fitting an expert or the calibration.
        split: which split it is.
        evaluated: (N,), whether the row belongs to it.
        deviation: (N, 2), of the raters of a label; NaN where unknown.
        raters: (N, 2), how many they were; NaN where unknown.
    """

    truth: np.ndarray
    groups: np.ndarray
    face_used: np.ndarray
    no_face: np.ndarray
    in_sample: np.ndarray
    split: str
    evaluated: np.ndarray
    deviation: np.ndarray
    raters: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, split: str, face_weight: np.ndarray) -> EvaluationRows:
        """The rows of `split` in a predictions table.

        Args:
            table: of `schema.PREDICTIONS`.
            split: "held_out", "all" or one of `schema.SPLITS`.
            face_weight: the face's weight in the fused estimate, (N, 2); NaN where there is none.
        """
        evaluated = rows_of(table, split)
        return cls(
            truth=np.where(evaluated[:, None], both(table), np.nan),
            groups=group_names(table),
            face_used=np.isfinite(face_weight) & (face_weight != 0),
            no_face=column(table, "face_count") == 0,
            in_sample=column(table, "in_sample") > 0,
            split=split,
            evaluated=evaluated,
            deviation=both(table, "", "std"),
            raters=both(table, "", "n"),
        )

    def parts(self) -> Iterator[tuple[str, bool, np.ndarray]]:
        """(subset, in sample, labels (N, 2) that are NaN elsewhere) for every subset that has labelled rows."""
        subsets = {"all": np.ones_like(self.face_used), "face": self.face_used, "no_face": self.no_face[:, None]}
        for inside in (False, True):
            for name, mask in subsets.items():
                labels = np.where(mask & (self.in_sample == inside)[:, None], self.truth, np.nan)
                if np.isfinite(labels).any(axis=1).sum() >= MIN_ROWS:
                    yield name, inside, labels


def measure(on: EvaluationRows, systems: Mapping[str, System], config: StatisticsConfig) -> pa.Table:
    """A table of `schema.METRICS`: accuracy, uncertainty where variances are known, and what a human reaches."""
    found: list[dict[str, object]] = []
    for subset, inside, labels in on.parts():
        where = {"split": on.split, "in_sample": inside, "subset": subset}
        for k, axis in enumerate(AXES):
            rows = np.isfinite(labels[:, k])
            truth, groups = labels[rows, k], on.groups[rows]
            for name, system in systems.items():
                mean, variance = system.mean[rows, k], system.variance[rows, k]
                told = accuracy(truth, mean, groups, confidence=config.confidence)
                told |= certainty(truth, mean, variance, groups, confidence=config.confidence)
                of = where | {"system": name, "axis": axis}
                found += [of | {"metric": metric} | _measured(each) for metric, each in told.items() if each.n]
            found += [
                where | {"axis": axis} | row for row in _human(truth, on.deviation[rows, k], on.raters[rows, k], groups)
            ]
    return _table(found, METRICS)


def compare(
    on: EvaluationRows,
    systems: Mapping[str, System],
    config: StatisticsConfig,
    *,
    fitted_metric: str | None = None,
) -> pa.Table:
    """A table of `schema.COMPARISONS`: the declared families on rows out of sample, then what is exploratory.

    Args:
        on: the rows.
        systems: by name.
        config: margin, minimum effect and confidence.
        fitted_metric: what the calibration was fitted for; None without one.
    """
    means = {name: system.mean for name, system in systems.items()}
    pairs = [pair for pair in PAIRS if set(pair) <= set(means)]
    words = Words(config.margin, config.min_effect, 1 - config.confidence)
    fresh = np.where(on.in_sample[:, None], np.nan, on.truth)
    judged = declared(fresh, means, on.groups, on.face_used, fitted_metric=fitted_metric, words=words)
    found = [_compared(row) | _where(on, "face" if row.family == PRIMARY else "all") for row in judged]
    said = {tuple(row[name] for name in _KEY) for row in found}
    for subset, inside, labels in on.parts():
        told = exploratory(labels, means, pairs, on.groups, COMPARED_METRICS, confidence=config.confidence)
        rows = [_compared(row) | _where(on, subset, inside=inside) for row in told if row.difference.n]
        found += [row for row in rows if inside or tuple(row[name] for name in _KEY) not in said]
    return _table(found, COMPARISONS)


_KEY = ("subset", "a", "b", "axis", "metric")


def _where(on: EvaluationRows, subset: str, *, inside: bool = False) -> dict[str, object]:
    return {"split": on.split, "in_sample": inside, "subset": subset}


def _measured(found: Inference) -> dict[str, object]:
    return {"value": found.estimate, "ci_low": found.low, "ci_high": found.high} | _amounts(found)


def _compared(row: Comparison) -> dict[str, object]:
    """What the table holds of a comparison; the interval of a declared one is that of its verdict."""
    found, said = row.difference, row.conclusion
    low, high, confidence = (said.low, said.high, 1 - said.level) if said else (found.low, found.high, found.confidence)
    return {
        **{name: getattr(row, name) for name in ("family", "a", "b", "axis", "metric", "p_holm")},
        "difference": found.estimate,
        "ci_low": low,
        "ci_high": high,
        "confidence": confidence,
        "p": found.p,
        "mde": found.minimum_detectable,
        "margin": said.margin if said else None,
        "verdict": said.word if said else None,
        **_amounts(found),
    }


def _amounts(found: Inference) -> dict[str, object]:
    return {name: getattr(found, name) for name in ("df", "n", "n_groups", "n_effective_groups")}


def _human(
    truth: np.ndarray, deviation: np.ndarray, raters: np.ndarray, groups: np.ndarray
) -> Iterator[dict[str, object]]:
    """r and MAE of a perfect model and of one rater, where labels say how far their raters differ."""
    known = np.isfinite([deviation, raters]).all(axis=0)
    reached = human_ceilings(truth, deviation, raters)
    amounts = {"n": reached.n, "n_groups": len(np.unique(groups[known]))}
    for system, r, mae in (
        (CEILING, reached.attainable_r, reached.floor_mae),
        (ONE_RATER, reached.rater_r, reached.rater_mae),
    ):
        if np.isfinite(mae):
            yield {"system": system, "metric": "mae", "value": mae} | amounts
            yield {"system": system, "metric": "pearson", "value": r} | amounts


def _table(found: Iterable[dict[str, object]], schema: pa.Schema) -> pa.Table:
    rows = [{name: _or_null(row.get(name)) for name in schema.names} for row in found]
    return pa.Table.from_pylist(rows, schema=schema)


def _or_null(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value
