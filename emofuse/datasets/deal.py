"""Splits for those who train or calibrate: a prepared table, its groups dealt by the shares that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from emofuse.datasets import splits
from emofuse.datasets.base import Built
from emofuse.errors import ConfigError, DataError
from emofuse.tables import schema
from emofuse.tables.columns import both, texts


def with_splits(built: Built, shares: Mapping[str, float], seed: int) -> Built:
    """`built` with a split for each row that has none, whole groups at a time.

    Published splits stay. Where train is published and valid is not, groups of train become valid, in the
    proportion of the two shares.

    Args:
        built: of a converter; groups joined over shared images.
        shares: of `splits.shares`.
        seed: fixes the deal.

    Raises:
        ConfigError: if the table has splits that leave nothing to deal.
        DataError: if there are fewer groups than splits.
    """
    split, groups = texts(built.table, "split"), texts(built.table, "group")
    published = sorted(set(split) - {None})
    rows = np.ones(len(split), dtype=bool)
    if published:
        rows, shares = split == "train", {name: share for name, share in shares.items() if name != "test"}
        if "valid" in published or not rows.any() or len(shares) < 2:
            raise ConfigError(f"the data set has splits of its own ({', '.join(published)}): leave --split out")
        built.report.notes.append("no valid split is published: a part of train became it")
    whole = sum(shares.values())
    fractions = {name: share / whole for name, share in shares.items()}
    dealt = splits.assign(both(built.table)[rows], groups[rows], seed, fractions)
    if dealt is None:
        raise DataError(f"{len(set(groups[rows]))} group(s) are too few for {', '.join(shares)}")
    split[rows] = dealt
    at = built.table.schema.get_field_index("split")
    table = built.table.set_column(at, "split", pa.array(split, pa.string()))
    return Built(_told(table, built, shares=fractions, seed=seed), built.report)


def _told(table: pa.Table, built: Built, *, shares: Mapping[str, float], seed: int) -> pa.Table:
    """`table` with the deal in its metadata, where the data set is told of."""
    told: dict[str, Any] = {"split_seed": seed, "split_shares": shares, "counts": built.report.counts()}
    dataset = schema.read_metadata(table.schema).get("dataset")
    # A predictions table tells of its data set beside its experts.
    return schema.with_metadata(table, **({"dataset": dataset | told} if isinstance(dataset, dict) else told))
