"""The Arrow schema of every table, and the check of one.

Valence and arousal stand on the reference scale [-1, 1], variances in its square, times
in seconds, boxes in pixels of the full-size upright image, luma in 0-255.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from emofuse.affect import AXES
from emofuse.errors import DataError
from emofuse.tables.extra import plain_extra

METADATA_KEY = b"emofuse"
SPLITS = ("train", "valid", "test")
STATUSES = ("ok", "no_face", "error")
EXPERTS = ("scene", "face")
LONGEST_SECONDS = 1e9
"""Of a timestamp; a larger one is no time within a video."""


def _field(name: str, kind: pa.DataType, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


def _estimates(prefix: str) -> list[pa.Field]:
    means = [_field(f"{prefix}_{axis}", pa.float32()) for axis in AXES]
    return means + [_field(f"{prefix}_{axis}_variance", pa.float32()) for axis in AXES]


MANIFEST = pa.schema(
    [
        _field("sample_id", pa.string(), nullable=False),
        _field("uri", pa.string()),
        _field("frame_index", pa.int64()),
        _field("timestamp", pa.float64()),
        _field("sequence", pa.string()),
        _field("group", pa.string()),
        _field("split", pa.string()),
        _field("valence", pa.float32()),
        _field("arousal", pa.float32()),
        _field("valence_std", pa.float32()),
        _field("arousal_std", pa.float32()),
        _field("valence_n", pa.int32()),
        _field("arousal_n", pa.int32()),
        _field("person_box", pa.list_(pa.float32())),
    ]
)
"""One row per image, frame or person in it; labels on the reference scale, null where there is none.
`*_std` is the standard deviation between the raters of a label and `*_n` how many they were.
`person_box` is left, top, right, bottom of the rated person: only a face in it is evaluated."""

PERCEIVED = pa.schema(
    [
        *_estimates("scene"),
        *_estimates("face"),
        _field("face_count", pa.int32()),
        _field("face_score", pa.float32()),
        _field("face_box", pa.list_(pa.float32())),
        _field("face_aligned", pa.bool_()),
        _field("scene_variance_source", pa.string()),
        _field("face_variance_source", pa.string()),
        _field("in_sample", pa.bool_(), nullable=False),
        _field("luma", pa.float32()),
        _field("width", pa.int32()),
        _field("height", pa.int32()),
        _field("status", pa.string(), nullable=False),
        _field("error", pa.string()),
    ]
)
"""What inference adds to a manifest row. Variances are the experts' own, before any recalibration."""

PREDICTIONS = pa.unify_schemas([MANIFEST, PERCEIVED])

FUSED = pa.unify_schemas(
    [
        PREDICTIONS,
        pa.schema(
            [
                *_estimates("fused"),
                *[_field(f"fused_{axis}_{end}", pa.float32()) for axis in AXES for end in ("low", "high")],
                *[_field(f"scene_weight_{axis}", pa.float32()) for axis in AXES],
                *[_field(f"gate_{gate}", pa.bool_()) for gate in ("score", "std", "luma")],
                *[_field(f"smoothed_{axis}", pa.float32()) for axis in AXES],
                *[_field(f"held_{axis}", pa.bool_()) for axis in AXES],
            ]
        ),
    ]
)
"""Predictions with the fusion: here `scene_*` and `face_*` are as fused, after calibration and recalibration:
they may leave [-1, 1], as in the predictions, and what is joined of them (`fused_*`, `smoothed_*`) does not.
A `gate_*` is true where that gate left the face out; `fused_*_low` and `_high` are a calibration's conformal interval
of the confidence asked for, null without one."""

METRICS = pa.schema(
    [
        _field("system", pa.string(), nullable=False),
        _field("split", pa.string(), nullable=False),
        _field("in_sample", pa.bool_(), nullable=False),
        _field("subset", pa.string(), nullable=False),
        _field("axis", pa.string(), nullable=False),
        _field("metric", pa.string(), nullable=False),
        _field("value", pa.float64()),
        _field("ci_low", pa.float64()),
        _field("ci_high", pa.float64()),
        _field("df", pa.float64()),
        _field("n", pa.int64(), nullable=False),
        _field("n_groups", pa.int64(), nullable=False),
        _field("n_effective_groups", pa.float64()),
    ]
)
"""`df` are the degrees of freedom of the interval; `n_effective_groups` groups of equal size say as much."""

COMPARISONS = pa.schema(
    [
        _field("family", pa.string(), nullable=False),
        _field("a", pa.string(), nullable=False),
        _field("b", pa.string(), nullable=False),
        _field("split", pa.string(), nullable=False),
        _field("in_sample", pa.bool_(), nullable=False),
        _field("subset", pa.string(), nullable=False),
        _field("axis", pa.string(), nullable=False),
        _field("metric", pa.string(), nullable=False),
        _field("difference", pa.float64()),
        _field("ci_low", pa.float64()),
        _field("ci_high", pa.float64()),
        _field("confidence", pa.float64(), nullable=False),
        _field("p", pa.float64()),
        _field("p_holm", pa.float64()),
        _field("df", pa.float64()),
        _field("n", pa.int64(), nullable=False),
        _field("n_groups", pa.int64(), nullable=False),
        _field("n_effective_groups", pa.float64()),
        _field("mde", pa.float64()),
        _field("margin", pa.float64()),
        _field("verdict", pa.string()),
    ]
)
"""`difference` is metric(a) - metric(b), `mde` the difference that such data would show 8 times of 10.

A declared comparison (family primary, baseline or calibration) has a `verdict` on a: better, worse, equivalent,
not_worse or inconclusive; its interval is at the `confidence` that Holm's correction within the family leaves it. An
exploratory one has none, nor `p_holm` and `margin`."""

SUBGROUPS = pa.schema(
    [
        _field("by", pa.string(), nullable=False),
        _field("kind", pa.string(), nullable=False),
        _field("value", pa.string()),
        _field("against", pa.string()),
        _field("system", pa.string(), nullable=False),
        _field("axis", pa.string(), nullable=False),
        _field("metric", pa.string(), nullable=False),
        _field("estimate", pa.float64()),
        _field("ci_low", pa.float64()),
        _field("ci_high", pa.float64()),
        _field("df", pa.float64()),
        _field("n", pa.int64(), nullable=False),
        _field("n_groups", pa.int64(), nullable=False),
        _field("pairs", pa.int64()),
    ]
)
"""One row per column `by`, and in it per `kind`: "subgroup" is the metric among rows whose column holds `value`,
"macro" the mean over its values, and "gap" the largest difference between two, `value` less `against`, whose interval
holds for all `pairs` of values and axes at once."""


def conform(table: pa.Table, schema: pa.Schema, what: str, *, required: Iterable[str] = ()) -> pa.Table:
    """`table` with exactly the columns of `schema`, in order, then its other columns as they came.

    Args:
        table: any table.
        schema: the schema to meet; a nullable column that is absent becomes nulls.
        what: how to call the table in a message.
        required: nullable columns that must be there nevertheless.

    Raises:
        DataError: if a column is missing, has another type, or holds nulls where none may be.
    """
    names = set(refuse_code(table, what).column_names)
    if len(names) < table.num_columns:
        twice = next(name for name in table.column_names if table.column_names.count(name) > 1)
        raise DataError(f"{what} has two columns called {twice}")
    missing = [f.name for f in schema if f.name not in names and (not f.nullable or f.name in set(required))]
    if missing:
        raise DataError(f"{what} lacks {', '.join(missing)}; it has {', '.join(table.column_names)}")
    columns: list[pa.ChunkedArray | pa.Array] = []
    for field in schema:
        if field.name not in names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        if column.type != field.type:
            try:
                column = column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(
                    f"{what}: column {field.name} must be {field.type}, is {column.type} ({error})"
                ) from None
        if not field.nullable and column.null_count:
            raise DataError(f"{what}: column {field.name} holds {column.null_count} null(s)")
        columns.append(column)
    extra = [name for name in table.column_names if name not in schema.names]
    full = pa.schema([*schema, *(table.schema.field(name) for name in extra)], metadata=table.schema.metadata)
    return pa.Table.from_arrays([*columns, *(table.column(name) for name in extra)], schema=full)


def conform_manifest(table: pa.Table) -> pa.Table:
    """A manifest, or a part of one, with the columns of `MANIFEST` and then those of the user's own as plain types.

    Raises:
        DataError: as `conform`, and for a column of the user's own that is nested or has a name of `FUSED`.
    """
    table = conform(table, MANIFEST, "manifest", required=("uri",))
    return plain_extra(table, MANIFEST.names, FUSED.names, "manifest")


def refuse_code(table: pa.Table, what: str) -> pa.Table:
    """`table`, where all of its columns are plain data.

    Ray registers Arrow types whose values are pickles: reading one from a stranger's file would run it.

    Raises:
        DataError: naming the first column of an extension type, nested ones included.
    """
    for field in table.schema:
        if found := _extension(field):
            raise DataError(f"{what}: column {field.name} is of the extension type {found}, which is refused")
    return table


def _extension(field: pa.Field) -> str | None:
    """The name of the extension type of a column or of anything in it, registered in this process or not."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name
    if name := (field.metadata or {}).get(b"ARROW:extension:name"):
        return name.decode(errors="replace")
    if pa.types.is_dictionary(kind):
        return _extension(pa.field("", kind.value_type))
    return next(filter(None, (_extension(kind.field(i)) for i in range(kind.num_fields))), None)


def check_manifest(table: pa.Table) -> pa.Table:
    """A manifest, or a part of one, in the form of `MANIFEST`.

    Raises:
        DataError: for missing columns, no rows, repeated ids, unknown splits, labels off the scale, frames or
            times that cannot be, boxes that are none, or further columns that cannot go along.
    """
    table = conform_manifest(table)
    if table.num_rows == 0:
        raise DataError("the manifest has no rows")
    counts = table.column("sample_id").value_counts()
    if len(counts) != table.num_rows:
        twice = next(c["values"].as_py() for c in counts if c["counts"].as_py() > 1)
        raise DataError(f"sample_id must be unique; {twice!r} stands in more than one row")
    splits = set(table.column("split").unique().to_pylist()) - {None, *SPLITS}
    if splits:
        raise DataError(f"split must be one of {', '.join(SPLITS)} or null; got {', '.join(sorted(map(str, splits)))}")
    for axis in AXES:
        values = table.column(axis).to_numpy()
        if (abs(values[values == values]) > 1 + 1e-6).any():
            raise DataError(
                f"{axis} must lie in [-1, 1] (the reference scale); make the manifest with its own scale named"
            )
    _check_frames(table)
    _check_boxes(table)
    return table


def _check_frames(table: pa.Table) -> None:
    frames, times = table.column("frame_index").to_numpy(), table.column("timestamp").to_numpy()
    if (frames < 0).any():
        raise DataError(f"frame_index must not be negative; got {int(frames[frames < 0][0])}")
    if np.isinf(times).any() or (np.abs(times) > LONGEST_SECONDS).any():
        raise DataError(f"timestamp must be seconds, at most {LONGEST_SECONDS:g}; got {np.nanmax(np.abs(times)):g}")


def _check_boxes(table: pa.Table) -> None:
    known = table.filter(table.column("person_box").is_valid())
    for row in known.select(["sample_id", "person_box"]).to_pylist():
        if not is_box(row["person_box"]):
            raise DataError(
                "person_box must be left, top, right, bottom in pixels, left < right and top < bottom; "
                f"{row['sample_id']!r} has {row['person_box']}"
            )


def is_box(values: Sequence[float | None]) -> bool:
    """Whether these are the left, top, right and bottom of a box that holds something."""
    if len(values) != 4 or not all(value is not None and math.isfinite(value) for value in values):
        return False
    left, top, right, bottom = values
    return left < right and top < bottom  # type: ignore[operator]


def with_metadata(table: pa.Table, **entries: object) -> pa.Table:
    """`table` with these entries added to the project's key of its schema metadata (as JSON)."""
    merged = {**read_metadata(table.schema), **entries}
    return table.replace_schema_metadata(
        {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(merged, sort_keys=True).encode()}
    )


def read_metadata(schema: pa.Schema) -> dict[str, object]:
    """What `with_metadata` put there; empty where nothing is.

    Raises:
        DataError: if something else stands there.
    """
    raw: Mapping[bytes, bytes] = schema.metadata or {}
    try:
        found = json.loads(raw.get(METADATA_KEY, b"{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"the table's metadata entry {METADATA_KEY.decode()!r} is not a JSON object")
    return found
