"""Hostile Parquet and run directories."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attacks.common import Owner, attack, refused
from emofuse.errors import EmofuseError
from emofuse.io import storage
from emofuse.runs.run import Run
from emofuse.tables import schema


def parquet(path: Path, table: pa.Table) -> str:
    """A Parquet file's address."""
    pq.write_table(table, path)
    return str(path)


def rows(**columns: list[object]) -> pa.Table:
    """A manifest of two rows with these columns in the place of the usual ones."""
    return pa.table({"sample_id": ["a", "b"], "uri": ["a.jpg", "b.jpg"], **columns})


def look(address: str) -> object:
    """Look a manifest through, as a job does first."""
    from emofuse.inference.manifest import scan_manifest

    return scan_manifest(address)


@attack("a manifest cut off in the middle")
def truncated(folder: Path) -> str:
    whole = io.BytesIO()
    pq.write_table(rows(), whole)
    (folder / "m.parquet").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    return refused(lambda: look(str(folder / "m.parquet")))


@attack("a manifest whose footer claims to be 4 GB long")
def long_footer(folder: Path) -> str:
    (folder / "m.parquet").write_bytes(b"PAR1" + b"x" * 100 + struct.pack("<I", 0xFFFFFFF0) + b"PAR1")
    return refused(lambda: look(str(folder / "m.parquet")))


@attack("a manifest with one bit in a hundred flipped")
def noise(folder: Path) -> str:
    whole = io.BytesIO()
    pq.write_table(rows(group=["g" * 1000, "h" * 1000]), whole)
    lines = set()
    for seed in range(20):
        data = np.frombuffer(whole.getvalue(), np.uint8).copy()
        hit = np.random.default_rng(seed).choice(len(data), len(data) // 100, replace=False)
        data[hit] ^= 4
        (folder / "m.parquet").write_bytes(data.tobytes())
        try:
            look(str(folder / "m.parquet"))
        except EmofuseError as error:
            lines.add(str(error).split(":")[-1][:40])
    return f"20 files, {len(lines)} different refusals, no crash"


@attack("a pickle as a column: Ray's own Arrow type for Python objects, which Ray would unpickle")
def pickled_column(folder: Path) -> str:
    import ray.data  # noqa: F401 - registers the type, as in every process of a job on Ray
    from ray.data.extensions import ArrowPythonObjectType

    payload = pa.array([pickle.dumps(Owner(folder))] * 2, pa.large_binary())
    column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), payload)
    for name in ("extra", "uri", "group"):
        line = refused(lambda name=name: look(parquet(folder / "m.parquet", rows(**{name: column}))))
        refused(lambda: storage.read_table(str(folder / "m.parquet")))
    return line


@attack("the same pickle hidden in a list, in a struct, in a dictionary")
def nested_pickle(folder: Path) -> str:
    import ray.data  # noqa: F401
    from ray.data.extensions import ArrowPythonObjectType

    kind = ArrowPythonObjectType()
    column = pa.ExtensionArray.from_storage(kind, pa.array([pickle.dumps(Owner(folder))] * 2, pa.large_binary()))
    listed = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
    inside = pa.StructArray.from_arrays([column], names=["x"])
    for hidden in (listed, inside):
        line = refused(lambda hidden=hidden: schema.conform(rows(extra=hidden), schema.MANIFEST, "manifest"))
        refused(lambda hidden=hidden: look(parquet(folder / "m.parquet", rows(extra=hidden))))
    return line


@attack("a column of an Arrow type that this process does not know, and another may")
def unknown_type(folder: Path) -> str:
    plain = rows()
    for name in ("extra", "group"):
        field = pa.field(name, pa.binary(), metadata={b"ARROW:extension:name": b"someones.pickle"})
        table = pa.Table.from_arrays([*plain.columns, pa.array([b"x", b"y"])], schema=pa.schema([*plain.schema, field]))
        line = refused(lambda table=table: look(parquet(folder / "m.parquet", table)))
        refused(lambda: storage.read_table(str(folder / "m.parquet")))
    return line


@attack("a pickle in the metadata of Ray's tensor type, which older Rays loaded")
def pickled_type(folder: Path) -> str:
    import ray.data  # noqa: F401

    storage_type = pa.list_(pa.int64())
    field = pa.field(
        "extra",
        storage_type,
        metadata={
            b"ARROW:extension:name": b"ray.data.arrow_tensor_v2",
            b"ARROW:extension:metadata": pickle.dumps(Owner(folder)),
        },
    )
    plain = rows()
    table = pa.Table.from_arrays(
        [*plain.columns, pa.array([[1], [2]], storage_type)], schema=pa.schema([*plain.schema, field])
    )
    return refused(lambda: look(parquet(folder / "m.parquet", table)))


@attack("metadata of 50 MB, and metadata that is no JSON, a list, and 100,000 brackets deep")
def odd_metadata(folder: Path) -> str:
    huge = rows().replace_schema_metadata({b"other": b"x" * 50_000_000})
    look(parquet(folder / "m.parquet", huge))
    for value in (b"{half", b"[1, 2]", b"[" * 100_000):
        table = rows().replace_schema_metadata({schema.METADATA_KEY: value})
        line = refused(lambda table=table: look(parquet(folder / "m.parquet", table)))
    return line


@attack("strings that are no UTF-8, as ids and as addresses")
def not_utf8(folder: Path) -> str:
    bad = pa.array([b"\xff\xfe", b"b"]).view(pa.binary()).view(pa.string())
    refused(lambda: look(parquet(folder / "m.parquet", rows(sample_id=bad))))
    return refused(lambda: look(parquet(folder / "m.parquet", rows(uri=bad))))


@attack("columns of other types, and one name twice")
def wrong_types(folder: Path) -> str:
    for column in ({"uri": [[1], [2]]}, {"valence": ["high", "low"]}, {"frame_index": [1.5, 2.5]}):
        refused(lambda column=column: look(parquet(folder / "m.parquet", rows(**column))))
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["sample_id", "uri", "uri"])
    return refused(lambda: look(parquet(folder / "m.parquet", twice)))


@attack("labels of 1e30, infinity, and a split called __proto__")
def odd_labels(folder: Path) -> str:
    for value in (1e30, float("inf"), float("-inf")):
        refused(lambda value=value: look(parquet(folder / "m.parquet", rows(valence=[value, 0.0]))))
    return refused(lambda: look(parquet(folder / "m.parquet", rows(split=["__proto__", "test"]))))


@attack("a run directory whose run.json is a list, is deep, is another program's")
def hostile_run(folder: Path) -> str:
    for text in ("[]", "[" * 100_000, '{"emofuse": ', '{"name": "thesis"}', "null"):
        (folder / "run.json").write_text(text)
        line = refused(lambda: Run(str(folder)).load())
    return line
