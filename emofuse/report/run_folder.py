"""A finished run as the report reads it: tables and facts, no models, no images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.errors import DataError
from emofuse.io import storage
from emofuse.runs.run import Run
from emofuse.tables import schema
from emofuse.tables.columns import column, texts
from emofuse.tables.splits import HELD_OUT, rows_of

SPLIT_ORDER = (HELD_OUT, "test", "all", "valid", "train")


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What stands in a run directory.

    Attributes:
        run: the directory and the paths in it.
        facts: the content of run.json.
        fused: one row per image (`schema.FUSED`), possibly without rows (a calibration or sweep run).
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
        """The manifest's metadata on the data set: dataset, title, source_units, licence, counts, label_note, …"""
        sources = (schema.read_metadata(self.fused.schema).get("dataset"), self.facts.get("dataset"))
        return {key: value for of in sources if isinstance(of, Mapping) for key, value in of.items()}

    @property
    def split(self) -> str:
        """The split that was evaluated."""
        return str(self.facts.get("split") or headline_split(self.metrics))

    @cached_property
    def evaluated(self) -> np.ndarray:
        """bool, shape (rows,): rows of the evaluated split that could be read and no expert was trained on."""
        mask = (texts(self.fused, "status") != "error") & ~column(self.fused, "in_sample").astype(bool)
        return mask & rows_of(self.fused, self.split)

    @cached_property
    def predictions(self) -> pa.Table:
        """The experts' means as they came (`schema.PREDICTIONS`); without rows where the run holds none."""
        return _read(self.run.predictions, schema.PREDICTIONS, "predictions")

    @cached_property
    def subgroups(self) -> pa.Table:
        """`schema.SUBGROUPS`; without rows where none were asked for."""
        return _read(self.run.subgroups, schema.SUBGROUPS, "subgroups")

    @cached_property
    def surface(self) -> pa.Table:
        """surface.parquet of a sweep; without rows where the run is none."""
        return _read(storage.join(self.run.address, "surface.parquet"), pa.schema([]), "surface")


def headline_split(metrics: pa.Table) -> str:
    """The split of a headline: the first of held_out, test, all, valid, train that has rows out of sample."""
    splits = {row["split"] for row in metrics.select(["split", "in_sample"]).to_pylist() if not row["in_sample"]}
    splits = splits or set(metrics.column("split").to_pylist())
    return next((split for split in SPLIT_ORDER if split in splits), "all")


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
