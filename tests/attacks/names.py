"""Hostile names, ids and numbers files; secrets in addresses."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pyarrow as pa
from broken import encoded, scene

from attacks.common import Owner, attack, refused
from emofuse.config import EvaluationConfig, MediaConfig
from emofuse.io import storage
from emofuse.io.images import read_bytes
from emofuse.runs import run as runs
from emofuse.runs.run import Run
from emofuse.tables import schema


def predictions(ids: list[str], uri: str = "a.jpg", group: str = "g") -> pa.Table:
    """A predictions table with these ids."""
    n, rng = len(ids), np.random.default_rng(0)
    columns: dict[str, object] = {"sample_id": ids, "uri": [uri] * n, "group": [f"{group}{i}" for i in range(n)]}
    for prefix in ("", "scene_", "face_"):
        for axis in ("valence", "arousal"):
            columns[f"{prefix}{axis}"] = pa.array(rng.uniform(-1, 1, n).astype(np.float32))
            if prefix:
                columns[f"{prefix}{axis}_variance"] = pa.array(np.full(n, 0.1, np.float32))
    columns |= {"in_sample": [False] * n, "status": ["ok"] * n, "split": ["test"] * n, "face_score": [0.9] * n}
    return schema.conform(pa.table(columns), schema.PREDICTIONS, "predictions")


@attack("HTML and scripts as file names, ids, groups and title of a data set, in the report")
def hostile_names(folder: Path) -> str:
    from emofuse.evaluation.evaluate_table import evaluate_table
    from emofuse.report import build_report

    script = "<script>fetch('http://evil')</script>\"'><img src=x onerror=alert(1)>"
    table = predictions([f"{script}{i}" for i in range(6)], uri=f"javascript:alert(1)//{script}", group=script)
    table = schema.with_metadata(table, dataset={"title": script, "licence": script, "label_note": script})
    evaluated = evaluate_table(table, EvaluationConfig())
    run = Run(str(folder / "run"))
    storage.write_table(storage.join(run.fused, "part-0.parquet"), evaluated.fused)
    storage.write_table(run.metrics, evaluated.metrics)
    storage.write_table(run.comparisons, evaluated.comparisons)
    run.save({"emofuse": "0", "dataset": {"title": script}, "manifest": {"address": script}, "split": evaluated.split})
    build_report(run.address)
    page = storage.read_bytes(run.report).decode()
    assert "<script>fetch" not in page
    assert "<img src=x" not in page
    assert 'href="javascript:' not in page
    return "shown as text; no tag, no link and no handler came of it"


@attack("terminal commands and rich's markup in names, on the terminal")
def hostile_terminal(folder: Path) -> str:
    from emofuse.errors import DataError
    from emofuse.io.addresses import printable

    evil = "\x1b[2J\x1b]8;;http://evil\x07[/red][link=http://evil]x"
    assert "\x1b" not in printable(evil)
    shown = io.StringIO()
    from emofuse.cli import status_of

    def fails() -> None:
        raise DataError(f"no file at {evil}")

    with redirect_stderr(shown):
        assert status_of(fails) == 1
    assert "\x1b" not in shown.getvalue()
    assert "[/red]" in shown.getvalue()
    return f"shown: {shown.getvalue().strip()[:80]}"


@attack("cells that a spreadsheet would run, in ids")
def formulas(folder: Path) -> str:
    ids = ["=cmd|'/c calc'!A1", "+1", "-1", "@x"]
    table = predictions(ids)
    storage.write_table(str(folder / "t.parquet"), table)
    assert storage.read_table(str(folder / "t.parquet")).column("sample_id").to_pylist() == ids
    written = [path.suffix for path in folder.rglob("*") if path.is_file()]
    assert ".csv" not in written
    return "kept as they are in Parquet; nothing is ever written as CSV"


@attack("passwords and signatures in addresses and options, in run.json and in messages")
def secrets(folder: Path) -> str:
    secret = "hunter2"
    addresses = (
        f"ftp://user:{secret}@host/m.parquet",
        f"https://host/m.parquet?X-Amz-Signature={secret}&token={secret}",
        f"s3://AKIA:{secret}@bucket/x",
    )
    record = {"emofuse": "0", "manifest": {"address": addresses[0]}, "list": list(addresses), "api_key": secret}
    Run(str(folder)).save(record)
    assert secret not in (folder / "run.json").read_text()
    for address in addresses:
        line = refused(lambda address=address: read_bytes(address, MediaConfig(root=str(folder))), kind="outside root")
        assert secret not in line
    assert secret not in runs.redact(addresses[1])
    return line


@attack("a sample id of 10 MB, and ids of control characters, through the whole evaluation")
def hostile_ids(folder: Path) -> str:
    from emofuse.evaluation.evaluate_table import evaluate_table
    from emofuse.inference.sink import commit

    table = predictions(["x" * 10_000_000, "\x1b[2J", "a/../../b", "\n", "‮gpj.exe", "😀"])
    name = commit(str(folder / "predictions"), table, {})
    assert len(name) < 60
    assert [path.name for path in (folder / "predictions").iterdir()] == [name]
    assert evaluate_table(table, EvaluationConfig()).fused.num_rows == table.num_rows
    return f"evaluated; the file is called {name}"


@attack("a table of NumPy objects (a pickle) where AffectNet keeps a number")
def pickled_array(folder: Path) -> str:
    from emofuse.datasets import CONVERTERS

    for part in ("images", "annotations"):
        (folder / "val_set" / part).mkdir(parents=True)
    (folder / "val_set" / "images" / "1.jpg").write_bytes(encoded(scene(), "JPEG"))
    for name in ("val", "aro"):
        np.save(folder / "val_set" / "annotations" / f"1_{name}.npy", np.array([Owner(folder)], dtype=object))
    return refused(lambda: CONVERTERS["affectnet"](str(folder)))
