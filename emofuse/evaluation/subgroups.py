"""How well systems do in each subgroup of the rows, on average over subgroups, and how far two subgroups lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.errors import DataError
from emofuse.evaluation.statistics import EvaluationRows, System
from emofuse.metrics.significance import Inference, accuracy
from emofuse.metrics.significance.contrasts import largest_gap, macro_mean
from emofuse.tables.extra import plain_type
from emofuse.tables.schema import FUSED, SUBGROUPS

PRIMARY, METRIC = "fused", "mae"
"""The system and the metric in which the largest gap is told."""
MOST_VALUES = 40
SUBGROUP, MACRO, GAP = "subgroup", "macro", "gap"


def check_columns(there: pa.Schema, by: Sequence[str]) -> None:
    """That rows can be told apart by these columns.

    Raises:
        DataError: naming the first that is not there, or holds neither text, numbers nor booleans.
    """
    able = [field.name for field in there if plain_type(field.type) is not None]
    own = ", ".join(name for name in able if name not in FUSED.names) or "none"
    for name in by:
        if name not in able:
            raise DataError(f"--by {name}: no such column of text, numbers or booleans; those of your own are: {own}")


def subgroup_table(
    table: pa.Table, by: Sequence[str], on: EvaluationRows, systems: Mapping[str, System], confidence: float
) -> pa.Table:
    """A table of `schema.SUBGROUPS` over the evaluated rows that nothing was fitted on.

    Rows without a value in a column take no part in its subgroups.

    Args:
        table: of `schema.PREDICTIONS`, with the columns of the user's own.
        by: names of columns.
        on: the rows that are evaluated.
        systems: by name.
        confidence: of the intervals.

    Raises:
        DataError: if a column is not there, or has more than 40 values.
    """
    check_columns(table.schema, by)
    found: list[dict[str, object]] = []
    fresh = np.where(on.in_sample[:, None], np.nan, on.truth)
    for name in by:
        member, values = _values(table, name, np.asarray(np.isfinite(fresh).any(axis=1)))
        if not values:
            continue
        for k, axis in enumerate(AXES):
            where = {"by": name, "axis": axis}
            for system, predicted in systems.items():
                error = predicted.mean[:, k] - fresh[:, k]
                rows = _of_system(fresh[:, k], predicted.mean[:, k], error, member, values, on.groups, confidence)
                found += [where | {"system": system} | row for row in rows]
            error = np.abs(systems[PRIMARY].mean[:, k] - fresh[:, k])
            if gap := _gap(error, member, values, on.groups, confidence):
                found.append(where | {"system": PRIMARY, "metric": METRIC} | gap)
    told = [{column: _or_null(row.get(column)) for column in SUBGROUPS.names} for row in found]
    return pa.Table.from_pylist(told, schema=SUBGROUPS)


def _values(table: pa.Table, name: str, evaluated: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The number of each row's value among the values of the evaluated rows, -1 for none, and the values as text."""
    column = np.array(table.column(name).to_pylist(), dtype=object)
    column[~evaluated] = None
    member, distinct = pd.factorize(column, sort=True)
    if len(distinct) > MOST_VALUES:
        raise DataError(
            f"--by {name}: it has {len(distinct)} values, more than {MOST_VALUES}; cut it into ranges first"
        )
    return member, [str(value) for value in distinct]


def _of_system(
    truth: np.ndarray, mean: np.ndarray, error: np.ndarray, member: np.ndarray, values: list[str],
    groups: np.ndarray, confidence: float,
) -> Iterator[dict[str, object]]:  # fmt: skip
    """Every metric in each subgroup, and their means over subgroups; means of rows with their interval."""
    each: dict[str, list[Inference]] = {}
    for number, value in enumerate(values):
        rows = (member == number) & np.isfinite(error)
        if not rows.any():
            continue
        for metric, found in accuracy(truth[rows], mean[rows], groups[rows], confidence=confidence).items():
            each.setdefault(metric, []).append(found)
            yield {"kind": SUBGROUP, "value": value, "metric": metric} | _amounts(found)
    present = np.unique(member[(member >= 0) & np.isfinite(error)])
    place = np.where(np.isin(member, present), np.searchsorted(present, member), -1)
    averaged = {"mae": np.abs(error), "bias": error}
    for metric, ones in each.items():
        row: dict[str, object] = {"kind": MACRO, "metric": metric}
        if metric in averaged:
            yield row | _amounts(macro_mean(averaged[metric], place, len(present), groups, confidence=confidence))
        else:
            rows = place >= 0
            counts = {"n": int(rows.sum()), "n_groups": len(np.unique(groups[rows]))}
            yield row | {"estimate": float(np.mean([one.estimate for one in ones]))} | counts


def _gap(
    error: np.ndarray, member: np.ndarray, values: list[str], groups: np.ndarray, confidence: float
) -> dict[str, object] | None:
    found = largest_gap(error, member, len(values), groups, confidence=confidence, families=len(AXES))
    if found is None:
        return None
    sides = {"kind": GAP, "value": values[found.high], "against": values[found.low], "pairs": found.pairs}
    return sides | _amounts(found.difference)


def _amounts(found: Inference) -> dict[str, object]:
    return {
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "df": found.df,
        "n": found.n,
        "n_groups": found.n_groups,
    }


def _or_null(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value
