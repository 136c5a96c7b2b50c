"""Collects every run below a folder into one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from emofuse.io import storage
from emofuse.affect import AXES
from emofuse.errors import ConfigError

FIGURES = ("pearson", "ccc", "mae")

EXPERIMENTS = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("started", pa.string()),
        pa.field("commit", pa.string()),
        pa.field("data", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("setting", pa.string()),
        pa.field("held_out", pa.string()),
        *[pa.field(f"{axis}_{figure}", pa.float64()) for axis in AXES for figure in FIGURES],
        pa.field("chosen", pa.string()),
        pa.field("config", pa.string()),
    ]
)
"""One row for each run.json: what it was, on what, what it reached on rows it was not fitted to. `setting` says in a
few words what ran; `chosen` and `config` hold it whole, as JSON."""


def collect(folder: Path) -> pa.Table:
    """The table of all runs below `folder`, by the time they started.

    Raises:
        ConfigError: if there is no run below it.
    """
    rows = []
    for path in sorted(folder.rglob("run.json")):
        record = _load(path)
        if record is not None:
            rows.append(_row(path.parent, folder, record))
    if not rows:
        raise ConfigError(f"no run.json below {folder}")
    rows.sort(key=lambda row: (row["started"] or "", row["run"]))
    return pa.Table.from_pylist(rows, schema=EXPERIMENTS)


def kind_of(record: dict[str, Any]) -> str:
    """The kind of run that a record belongs to: train, calibration, stabilizer or fusion."""
    return str(record.get("kind") or ("stabilizer" if "sweep" in record else "fusion"))


def _load(path: Path) -> dict[str, Any] | None:
    """A run's record; None for a file of that name that emofuse did not write."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return record if isinstance(record, dict) and "emofuse" in record else None


def _row(run: Path, folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    kind = kind_of(record)
    held_out, figures = _trained(record) if kind == "train" else _evaluated(run, record)
    chosen = (record.get("search") or {}).get("chosen") or record.get("chosen")
    return {
        "run": str(run.relative_to(folder)),
        "kind": kind,
        "finished": (run / "_SUCCESS").is_file(),
        "started": record.get("started"),
        "commit": record.get("commit"),
        "data": _data(record),
        "rows": _count(record.get("counts")),
        "seconds": _seconds(record),
        "setting": _setting(kind, record),
        "held_out": held_out,
        **figures,
        "chosen": json.dumps(chosen, sort_keys=True) if chosen is not None else None,
        "config": json.dumps(record.get("config"), sort_keys=True),
    }


def _trained(record: dict[str, Any]) -> tuple[str | None, dict[str, float]]:
    """Metrics out of fold: the valid rows also decided when training stopped."""
    part = (record.get("metrics") or {}).get("out_of_fold")
    if not part:
        return None, {}
    return "out of fold", {f"{axis}_{figure}": part[axis][figure] for axis in AXES for figure in FIGURES}


def _evaluated(run: Path, record: dict[str, Any]) -> tuple[str | None, dict[str, float]]:
    """Metrics of the fused system on all rows that no expert was trained on."""
    path = run / "metrics.parquet"
    if not path.is_file():
        return None, {}
    wanted = {"system": "fused", "subset": "all", "in_sample": False}
    stored = storage.read_parquet(str(path)).to_pylist()
    rows = [row for row in stored if all(row.get(k) == v for k, v in wanted.items())]
    figures = {f"{row['axis']}_{row['metric']}": row["value"] for row in rows if row["metric"] in FIGURES}
    return (str(record.get("split") or "all"), figures) if figures else (None, {})


def _data(record: dict[str, Any]) -> str | None:
    for key in ("dataset", "manifest", "predictions", "fused"):
        value = record.get(key)
        if isinstance(value, dict):
            value = value.get("title") or value.get("dataset") or value.get("address")
        if value:
            return str(value)
    return None


def _count(counts: Any) -> int | None:
    if not isinstance(counts, dict):
        return None
    for key in ("in", "manifest", "rows"):
        if isinstance(counts.get(key), int):
            return int(counts[key])
    numbers = [value for value in counts.values() if isinstance(value, int)]
    return sum(numbers) if numbers else None


def _seconds(record: dict[str, Any]) -> float | None:
    if isinstance(record.get("seconds"), (int, float)):
        return float(record["seconds"])
    stages = [stage.get("seconds") for stage in (record.get("stages") or {}).values() if isinstance(stage, dict)]
    known = [float(value) for value in stages if isinstance(value, (int, float))]
    return sum(known) if known else None


def _setting(kind: str, record: dict[str, Any]) -> str:
    config = record.get("config") or {}
    if kind == "train":
        training = (record.get("head") or {}).get("training") or config.get("training") or {}
        rate = training.get("learning_rate")
        parts = [config.get("expert"), config.get("backbone"), training.get("head"), record.get("served")]
        return ", ".join([str(part) for part in parts if part] + ([f"rate {rate:.2g}"] if rate else []))
    fusion = ((config.get("evaluate") or {}).get("fusion") or {}).get("method")
    calibration = (config.get("evaluate") or {}).get("calibration")
    parts = [fusion, "calibrated" if calibration else None, "searched" if record.get("chosen") else None]
    return ", ".join(str(part) for part in parts if part)
