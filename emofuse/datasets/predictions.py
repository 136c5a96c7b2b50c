"""Somebody else's predictions, to be calibrated, fused and evaluated without an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.datasets import splits
from emofuse.datasets.base import REPEATED, STRADDLING, Built, Origin, Report, sample_id, with_groups
from emofuse.datasets.tables import need, numbers, read_csv, split_names, typed, words
from emofuse.errors import ConfigError, DataError
from emofuse.io import storage
from emofuse.scales import Scale
from emofuse.scales import scale as scale_of
from emofuse.tables import schema
from emofuse.tables.extra import plain_extra
from emofuse.tables.schema import EXPERTS

if TYPE_CHECKING:
    import pandas as pd

Pair = tuple[str, str]


@dataclass(frozen=True)
class Columns:
    """How the columns are called; those of two axes in the order valence, arousal."""

    path: str = "image_path"
    """What tells a row: the image's path or any id."""
    labels: Pair = ("valence", "arousal")
    """The ratings, in the units of --scale; may be absent."""
    scene: Pair | None = None
    """The scene expert's predictions."""
    face: Pair | None = None
    """The face expert's predictions; empty where no face was found."""
    scene_spread: Pair | None = None
    """The scene expert's own variances or standard deviations (--spread says which)."""
    face_spread: Pair | None = None
    """The face expert's own variances or standard deviations."""
    group: str = "group"
    """What must not straddle two splits; without it each row is its own."""
    split_column: str = "split"
    """train, valid or test; may be absent."""

    @property
    def named(self) -> set[str]:
        """All columns that are called something here."""
        pairs = (self.labels, self.scene, self.face, self.scene_spread, self.face_spread)
        return {self.path, self.group, self.split_column, *(name for pair in pairs for name in pair or ())}


def build(
    root: str,
    *,
    scale: str,
    prediction_scale: str | None = None,
    spread: Literal["variance", "std"] = "variance",
    columns: Columns = Columns(),
    images: str | None = None,
) -> Built:
    """Somebody else's predictions in a CSV or Parquet file become a predictions table.

    It is evaluated with `emofuse evaluate --predictions`, without an image. Name the columns of at least one expert:
    --face emonet_valence emonet_arousal. A row without the face expert's prediction counts as one without a face.

    Args:
        root: The CSV or Parquet file, or a folder that holds just one.
        scale: The units of the labels, by name: reference, findingemo, oasis, emotic, sam9, unit, …
        prediction_scale: The units of the predictions; by default those of the labels.
        spread: Whether spreads are variances or standard deviations, in the units of the predictions (squared).
        columns: How the columns are called.
        images: The folder or address that paths start from, if the report shall show them.

    Raises:
        ConfigError: if no expert's columns are named, or a scale is unknown.
        DataError: if the file or a column is missing, or a label is off the scale.
    """
    units = scale_of(prediction_scale or scale)
    address, read, text = _read(root)
    origin = Origin("predictions", f"Predictions from {address.rsplit('/', 1)[-1]}", scale_of(scale), "not stated")
    report = Report(read=len(read))
    rows = with_groups(_labelled(read, columns, origin, address), report)
    rows = rows.assign(**_predictions(read, columns, units, spread, address))
    for column in report.own_columns(name for name in read if name not in columns.named):
        rows[column] = typed(read, column) if text else read[column]
    rows = report.drop(rows, rows["path"].duplicated(), REPEATED).sort_values("path", ignore_index=True)
    if rows["split"].notna().any():
        stays = splits.keep_last(rows["split"].to_numpy(), rows["group"].to_numpy(dtype=object))
        rows = report.drop(rows, ~stays, STRADDLING).reset_index(drop=True)
    if images is not None:
        base = storage.absolute(images)
        rows["uri"] = [storage.join(base, path.lstrip("/")) for path in rows["path"]]
    rows["in_sample"] = False
    report.kept = len(rows)
    report.note_labels(rows)
    report.note(int((rows["status"] == "no_face").sum()), "without the face expert's prediction")
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
    about = {**origin.metadata(), "counts": report.counts()}
    table = schema.conform(table, schema.PREDICTIONS, "predictions")
    table = plain_extra(table, schema.PREDICTIONS.names, schema.FUSED.names, "predictions")
    return Built(schema.with_metadata(table, dataset=about, experts=_cards(columns, units)), report)


def _read(address: str) -> tuple[str, pd.DataFrame, bool]:
    """The address of a file, or of the only one in a folder, its table, and whether all in it is text."""
    system, place = storage.filesystem(address)
    if system.isdir(place):
        tables = [name for name in storage.names(address) if name.lower().endswith((".csv", ".parquet"))]
        if len(tables) != 1:
            raise DataError(f"{address} is a folder with {len(tables)} tables; name the CSV or Parquet file itself")
        address = storage.join(address, tables[0])
    data = storage.read_bytes(address)
    if data[:4] != b"PAR1":
        return address, read_csv(data, address), True
    return address, storage.read_parquet(address).to_pandas(), False


def _labelled(read: pd.DataFrame, columns: Columns, origin: Origin, file: str) -> pd.DataFrame:
    """Ids, groups, labels and published splits, as a manifest has them."""
    import pandas as pd

    assert origin.scale is not None
    need(read, (columns.path,), file)
    rows = pd.DataFrame({"path": words(read, columns.path).fillna("")})
    rows["sample_id"] = [sample_id(origin.name, path) for path in rows["path"]]
    rows["group"] = words(read, columns.group) if columns.group in read else None
    rows["split"] = split_names(words(read, columns.split_column), file) if columns.split_column in read else None
    for axis, column in zip(AXES, columns.labels, strict=True):
        values = numbers(read, column, file) if column in read else np.full(len(read), np.nan)
        rows[axis] = origin.scale.to_reference(values, axis)
    return rows


def _predictions(read: pd.DataFrame, columns: Columns, units: Scale, spread: str, file: str) -> dict[str, np.ndarray]:
    """Both experts' means, variances and what follows from their presence."""
    named = {name: pair for name in EXPERTS if (pair := getattr(columns, name))}
    if not named:
        raise ConfigError(f"name an expert's columns, --scene A B or --face A B; {file} has {', '.join(read.columns)}")
    out: dict[str, np.ndarray] = {}
    said = {name: np.zeros(len(read), dtype=bool) for name in EXPERTS}
    for name, pair in named.items():
        spreads = getattr(columns, f"{name}_spread")
        need(read, (*pair, *(spreads or ())), file)
        known = np.zeros(len(read), dtype=bool)
        for i, axis in enumerate(AXES):
            # Predictions may leave the scale that ratings must keep to.
            mean = units.to_reference(numbers(read, pair[i], file), axis, check=False)
            variance = _variance(numbers(read, spreads[i], file), units, axis, spread) if spreads else mean * np.nan
            out[f"{name}_{axis}"] = mean
            out[f"{name}_{axis}_variance"] = np.where(np.isfinite(mean), variance, np.nan)
            said[name] |= np.isfinite(mean)
            known |= np.isfinite(out[f"{name}_{axis}_variance"])
        out[f"{name}_variance_source"] = _choose(said[name], _choose(known, "model", "none"), None)
    silent = ~said["scene"] & ~said["face"] & ("scene" in named)
    if "face" in named:
        out["face_count"] = said["face"].astype(np.int32)
    out["status"] = _choose(silent, "error", _choose(~said["face"] & ("face" in named), "no_face", "ok"))
    out["error"] = _choose(silent, "no prediction", None)
    return out


def _variance(given: np.ndarray, units: Scale, axis: str, spread: str) -> np.ndarray:
    std = given if spread == "std" else np.sqrt(np.where(given > 0, given, np.nan))
    return np.where(std > 0, units.spread_to_reference(std, axis) ** 2, np.nan)


def _choose(where: np.ndarray, this: object, other: object) -> np.ndarray:
    return np.where(where, np.asarray(this, dtype=object), np.asarray(other, dtype=object))


def _cards(columns: Columns, units: Scale) -> dict[str, dict[str, str]]:
    named = {name: pair for name in EXPERTS if (pair := getattr(columns, name))}
    return {name: {"name": ", ".join(pair), "units": units.name} for name, pair in named.items()}
