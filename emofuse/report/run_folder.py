"""A finished run as the report reads it: tables and facts, no models, no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse import schema, storage
from emofuse.affect import AXES
from emofuse.errors import DataError
from emofuse.runs import Run

SPLIT_ORDER = ("test", "all", "valid", "train")


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What stands in a run directory.

    Attributes:
        run: the directory and the paths in it.
        facts: the content of run.json.
        fused: one row per picture (`schema.FUSED`), possibly without rows (a calibration or sweep run).
        metrics: `schema.METRICS`.
        comparisons: `schema.COMPARISONS`.
    """

    run: Run
    facts: Mapping[str, Any]
    fused: pa.Table
    metrics: pa.Table
    comparisons: pa.Table

    def section(self, name: str) -> dict[str, Any]:
        """An entry of run.json that is a mapping; empty where it is absent or something else."""
        value = self.facts.get(name)
        return dict(value) if isinstance(value, Mapping) else {}

    @property
    def dataset(self) -> dict[str, Any]:
        """What is known of the data set: run.json first, then the table's own metadata."""
        stored = schema.read_metadata(self.fused.schema)
        of_table = stored.get("dataset")
        return {**(of_table if isinstance(of_table, Mapping) else {}), **self.section("dataset")}

    @property
    def split(self) -> str:
        """The split that was judged."""
        return headline_split(self.metrics)

    def values(self, name: str) -> np.ndarray:
        """A numeric column of the fused table as float64, shape (rows,); null is NaN."""
        return column_values(self.fused, name)

    def judged(self) -> np.ndarray:
        """bool, shape (rows,): rows of the judged split that could be read and no expert was trained on."""
        mask = np.array([status != "error" for status in self.fused.column("status").to_pylist()], dtype=bool)
        mask &= ~self.fused.column("in_sample").to_numpy().astype(bool)
        if self.split in schema.SPLITS:
            mask &= np.array([split == self.split for split in self.fused.column("split").to_pylist()], dtype=bool)
        return mask


def headline_split(metrics: pa.Table) -> str:
    """The split a headline speaks of: the first of test, all, valid, train that has rows out of sample."""
    splits = {row["split"] for row in metrics.select(["split", "in_sample"]).to_pylist() if not row["in_sample"]}
    splits = splits or set(metrics.column("split").to_pylist())
    return next((split for split in SPLIT_ORDER if split in splits), "all")


def column_values(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as float64, shape (rows,); null, and a column that is absent, is NaN."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def pair(table: pa.Table, prefix: str, suffix: str = "") -> np.ndarray:
    """The valence and arousal columns of one name, float64, shape (rows, 2)."""
    return np.stack([column_values(table, f"{prefix}{axis}{suffix}") for axis in AXES], axis=-1)


def open_run(address: str | Path) -> RunFolder:
    """Read a run directory, local or at any fsspec address.

    Raises:
        DataError: if it holds no run.json, or a table that is not what it should be.
        ConfigError: if its run.json is of something else.
    """
    run = Run(storage.absolute(address))
    facts = run.load()
    if not facts:
        raise DataError(f"{address} is no run directory: it holds no run.json")
    return RunFolder(
        run=run,
        facts=facts,
        fused=_read(run.fused, schema.FUSED, "fused table"),
        metrics=_read(run.metrics, schema.METRICS, "metrics"),
        comparisons=_read(run.comparisons, schema.COMPARISONS, "comparisons"),
    )


def _read(address: str, form: pa.Schema, what: str) -> pa.Table:
    """The table at an address in the given form; empty where there is none."""
    if not storage.exists(address):
        return form.empty_table()
    return schema.conform(storage.read_table(address), form, what)
