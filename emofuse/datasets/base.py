"""From a table of images and ratings, as published, to a manifest with its report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.datasets import splits
from emofuse.datasets.root import Root
from emofuse.errors import DataError
from emofuse.io.images import content_hash
from emofuse.scales import Scale
from emofuse.tables import schema
from emofuse.tables.extra import EXPRESSION

if TYPE_CHECKING:
    import pandas as pd

MISSING = "image missing"
REPEATED = "listed more than once"
STRADDLING = "its group or its very image stands in a later published split"
NO_LABEL, ONE_LABEL = "without a label", "with a label on one axis alone"
ALONE = "with a label and no group: each counts as independent of all others"
_OURS = {*schema.FUSED.names, "path", "part"}


@dataclass(frozen=True)
class Origin:
    """What is to be said of a data set wherever its rows go.

    Attributes:
        name: how the command line and ids call it.
        title: its published name, with the reference.
        scale: the units of its ratings; None where it has none.
        licence: the terms, in one line.
        sentinels: values that stand for "no rating", and what becomes of them.
    """

    name: str
    title: str
    scale: Scale | None
    licence: str
    sentinels: str = "none"

    def metadata(self) -> dict[str, object]:
        """The entries of a table's metadata."""
        units = None
        if self.scale:
            ranges = {axis: [self.scale.low[i], self.scale.high[i]] for i, axis in enumerate(AXES)}
            units = {"scale": self.scale.name, **ranges}
        return {
            "dataset": self.name,
            "title": self.title,
            "source_units": units,
            "sentinels": self.sentinels,
            "licence": self.licence,
        }


@dataclass
class Report:
    """What became of the rows: how many were read, kept and dropped, and why."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def drop(self, rows: pd.DataFrame, away: Iterable[bool], reason: str) -> pd.DataFrame:
        """`rows` without those marked `away`, which are counted under `reason`, the first as its example."""
        mask = np.asarray(away, dtype=bool)
        if mask.any():
            self.dropped[reason] = self.dropped.get(reason, 0) + int(mask.sum())
            self.examples.setdefault(reason, str(rows["path"].to_numpy()[mask][0]))
        return rows[~mask]

    def note(self, count: int, text: str) -> None:
        """Something to tell about `count` rows that stay; silent where there are none."""
        if count:
            self.notes.append(f"{count:,} {text}")

    def note_labels(self, rows: pd.DataFrame) -> None:
        """Tell how many rows lack both ratings, and how many lack one."""
        missing = rows[list(AXES)].isna().sum(axis=1)
        self.note(int((missing == len(AXES)).sum()), NO_LABEL)
        self.note(int(((missing > 0) & (missing < len(AXES))).sum()), ONE_LABEL)

    def own_columns(self, names: Iterable[str]) -> list[str]:
        """Those of a source's further columns that go along; others have a name of ours, which is told."""
        names = list(names)
        taken = [name for name in names if name in _OURS or name.startswith(EXPRESSION)]
        if taken and (told := f"left out, since emofuse uses the name: column {', '.join(taken)}") not in self.notes:
            self.notes.append(told)
        return [name for name in names if name not in taken]

    def counts(self) -> dict[str, object]:
        """The entries of a table's metadata."""
        return {"read": self.read, "kept": self.kept, "dropped": self.dropped, "notes": self.notes}

    def explain(self) -> str:
        """The reasons for which rows were dropped, in one line."""
        parts = [f"{reason}: {count:,} (first: {self.examples[reason]})" for reason, count in self.dropped.items()]
        return "; ".join(parts) or "there was none"


@dataclass(frozen=True)
class Built:
    """A table ready to be written, and what became of the source's rows."""

    table: pa.Table
    report: Report


def sample_id(dataset: str, path: str, part: object = "") -> str:
    """A short id, the same wherever the data set lies.

    Args:
        dataset: the data set's name.
        path: the image's path relative to the root.
        part: the frame's index, or the person's, where a file gives several rows.
    """
    return hashlib.sha256(f"{dataset}\0{path}\0{part}".encode()).hexdigest()[:20]


def locate(rows: pd.DataFrame, root: Root, report: Report) -> pd.DataFrame:
    """`rows` with `path` as the file is called below the root; rows without a file are dropped and counted."""
    found = {path: root.resolve(path) for path in rows["path"].unique()}
    rows = report.drop(rows, [found[path] is None for path in rows["path"]], MISSING)
    return rows.assign(path=[found[path] for path in rows["path"]])


def assemble(rows: pd.DataFrame, origin: Origin, root: Root, report: Report) -> Built:
    """The manifest of `rows`.

    Args:
        rows: one row per sample. `path` is relative to the root and exists; optional are `valence`,
            `arousal`, `valence_std`, `arousal_std` in source units, `group` (default: each image its
            own), `split` (published), `frame_index`, `timestamp`, `sequence`, `part` (tells the rows of
            one image apart) and any further columns of text, numbers or booleans, which go along.
        origin: the data set.
        root: where the files lie.
        report: what was read and dropped so far; completed here.

    Raises:
        DataError: if nothing is left, labels leave the data set's scale, or a further column cannot go along.
    """
    rows = rows.reset_index(drop=True)
    part = rows["frame_index"] if "frame_index" in rows else rows.get("part", [""] * len(rows))
    rows["sample_id"] = [sample_id(origin.name, path, p) for path, p in zip(rows["path"], part, strict=True)]
    if "split" in rows:  # of an image in two splits the later keeps it
        rows = rows.iloc[np.argsort(-splits.rank(rows["split"].to_numpy()), kind="stable")]
    rows = report.drop(rows, rows["sample_id"].duplicated(), REPEATED)
    if rows.empty:
        raise DataError(f"no image of {origin.name} is left below {root.address}: {report.explain()}")
    by = ["path", *(name for name in ("frame_index", "part") if name in rows)]
    rows = _in_reference_units(rows.sort_values(by, ignore_index=True), origin.scale)
    rows = _disjoint(with_groups(rows, report), root, report)
    rows["uri"] = [root.uri(path) for path in rows["path"]]
    report.kept = len(rows)
    report.note_labels(rows)
    return Built(_table(rows, origin, report), report)


def _in_reference_units(rows: pd.DataFrame, scale: Scale | None) -> pd.DataFrame:
    for axis in AXES:
        spread = f"{axis}_std"
        known = {name: rows[name].to_numpy(dtype=np.float64) for name in (axis, spread) if name in rows}
        if scale is None or axis not in known:
            rows[axis] = np.nan
            continue
        rows[axis] = scale.to_reference(known[axis], axis)
        if spread in known:
            rows[spread] = scale.spread_to_reference(known[spread], axis)
    return rows


def with_groups(rows: pd.DataFrame, report: Report) -> pd.DataFrame:
    """`rows` with a group each; one that names none is its own, which is told where it has a label."""
    import pandas as pd

    given = rows["group"] if "group" in rows else pd.Series(None, index=rows.index, dtype=object)
    report.note(int((given.isna() & rows[list(AXES)].notna().any(axis=1)).sum()), ALONE)
    rows["group"] = given.astype(object).where(given.notna(), rows["path"]).astype(str)
    return rows


def _disjoint(rows: pd.DataFrame, root: Root, report: Report) -> pd.DataFrame:
    """`rows` with groups joined over shared images, and published splits that share neither."""
    content = rows["path"].map(content_keys(root, rows["path"].unique()))
    if "split" in rows and rows["split"].notna().any():
        split = rows["split"].to_numpy()
        stays = splits.keep_last(split, rows["group"].to_numpy()) & splits.keep_last(split, content.to_numpy())
        rows = report.drop(rows, ~stays, STRADDLING).reset_index(drop=True)
        content = content[stays].reset_index(drop=True)
        given = rows["split"].notna().to_numpy()
        # A row without a split must not tie groups of two splits together.
        rows.loc[given, "group"] = splits.join_groups(rows["group"][given], content[given])
        return rows
    rows["group"] = splits.join_groups(rows["group"], content)
    return rows


def content_keys(root: Root, paths: Iterable[str]) -> dict[str, str]:
    """A key per file, equal where the bytes are equal.

    Only files that agree in their size and then in their last bytes are read whole, which spares
    nearly all of the reading.
    """
    keys = {path: str(root.sizes[path]) for path in paths}
    with ThreadPoolExecutor(8) as pool:
        for read in (root.read_end, root.read_bytes):
            alike = [path for same in _by_key(keys) if len(same) > 1 for path in same]
            digests = pool.map(lambda path, read=read: content_hash(read(path)), alike)
            keys.update(dict(zip(alike, digests, strict=True)))
    return {path: same[0] for same in _by_key(keys) for path in same}


def _by_key(keys: dict[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for path, key in keys.items():
        groups.setdefault(key, []).append(path)
    return list(groups.values())


def _table(rows: pd.DataFrame, origin: Origin, report: Report) -> pa.Table:
    rows = rows.drop(columns=[name for name in ("path", "part") if name in rows])
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
    table = schema.check_manifest(table)
    return schema.with_metadata(table, **origin.metadata(), counts=report.counts())
