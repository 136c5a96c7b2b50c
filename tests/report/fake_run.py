"""A run directory as a finished job leaves it, from a seeded generator: for the tests of report and notebooks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from emofuse.affect import AXES
from emofuse.config import StatisticsConfig
from emofuse.evaluation.statistics import EvaluationRows, System, compare, measure
from emofuse.tables import schema
from emofuse.tables.columns import both

SIZE = (320, 240)
BOX = (100.0, 50.0, 180.0, 150.0)


def make_run(
    folder: Path,
    rows: int = 60,
    *,
    face_gain: float = 1.0,
    labels: bool = True,
    frames: int = 0,
    images: int = 12,
    errors: int = 3,
    names: dict[int, str] | None = None,
    demonstration: bool = False,
    seed: int = 0,
) -> Path:
    """Write a run of `rows` images, or of one video of `frames` frames besides, below `folder` and return it.

    Args:
        folder: made if absent.
        rows: images, a third of them in sample for the scene head.
        face_gain: 1 gives the face a fair weight, 0 next to none.
        labels: whether the rows are rated.
        frames: frames of one sequence, added after the images.
        images: different image files written; rows share them.
        errors: rows that could not be read.
        names: sample ids to use instead of the made ones, by row.
        demonstration: whether the labels are marked as stand-ins.
        seed: fixes everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    files = [_image(folder / "images" / f"image {k}.jpg", rng) for k in range(images)]
    table = _fused(rng, rows, frames, files, face_gain, labels, errors, names or {})
    (folder / "fused").mkdir(exist_ok=True)
    pq.write_table(table, folder / "fused" / "part-00000.parquet")
    metrics, comparisons = _evaluation(table)
    pq.write_table(metrics, folder / "metrics.parquet")
    pq.write_table(comparisons, folder / "comparisons.parquet")
    facts = run_facts(table, demonstration=demonstration)
    (folder / "run.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    (folder / "_SUCCESS").touch()
    return folder


def run_facts(table: pa.Table, *, demonstration: bool) -> dict[str, object]:
    """A run.json for this table."""
    counts = {status: sum(s == status for s in table.column("status").to_pylist()) for status in schema.STATUSES}
    note = "Labels are theme means of OASIS that stand in for ratings: few, and for demonstration only."
    expert = {"architecture": "EfficientNet-Lite1, linear head", "data": "OASIS", "licence": "research-only ratings"}
    return {
        "config": {
            "predict": {"seed": 0, "scene": {"backbone": "embedded", "passes": 20}},
            "evaluate": {"split": None},
        },
        "fingerprints": {"predict": "5f1d" * 16, "evaluate": "77aa" * 16},
        "emofuse": "0.1.0",
        "python": "3.12.3",
        "started": "2026-11-22T12:00:00+00:00",
        "libraries": {"ray": "2.60.0", "torch": "2.14.1"},
        "counts": {"in": table.num_rows, "out": table.num_rows, **counts},
        "stages": {"predict": {"seconds": 41.5, "images_per_second": table.num_rows / 41.5}},
        "split": "test",
        "manifest": {"address": "oasis.parquet", "rows": table.num_rows, "content": "c0ffee" * 10},
        "dataset": {
            "dataset": "oasis",
            "title": "OASIS (Kurdi, Lozano & Banaji 2017)",
            "source_units": {"scale": "oasis", "valence": [1, 7], "arousal": [1, 7]},
            "licence": "free for research",
            "counts": {
                "read": table.num_rows + 2,
                "kept": table.num_rows,
                "dropped": {"image missing": 2},
                "notes": [],
            },
            **({"demonstration": True, "label_note": note} if demonstration else {}),
        },
        "experts": {"scene": expert, "face": expert},
    }


def _image(path: Path, rng: np.random.Generator) -> Path:
    path.parent.mkdir(exist_ok=True)
    ramp = np.linspace(rng.uniform(40, 120, 3), rng.uniform(120, 230, 3), SIZE[1])
    image = Image.fromarray(np.repeat(ramp[:, None], SIZE[0], axis=1).astype(np.uint8))
    ImageDraw.Draw(image).ellipse(BOX, fill=(224, 188, 160))
    image.save(path)
    return path


def _fused(
    rng: np.random.Generator,
    rows: int,
    frames: int,
    files: list[Path],
    face_gain: float,
    labels: bool,
    errors: int,
    names: dict[int, str],
) -> pa.Table:
    n = rows + frames
    index = np.arange(n)
    video = index >= rows
    truth = rng.normal(0, (0.4, 0.3), (n, 2)).clip(-1, 1)
    steps = np.cumsum(rng.normal(0, 0.05, (n, 2)), axis=0)
    truth[video] = np.tanh(steps[video] - steps[video][:1]) if frames else truth[video]
    face = (index % 2 == 0) & (index >= errors)
    face[video] = index[video] < rows + frames // 2
    read = index >= errors
    scene_variance = rng.uniform(0.03, 0.12, (n, 2))
    face_variance = rng.uniform(0.05, 0.2, (n, 2)) / max(face_gain, 1e-3)
    scene = truth + rng.normal(size=(n, 2)) * np.sqrt(scene_variance)
    seen = truth + rng.normal(size=(n, 2)) * np.sqrt(face_variance)
    weight = np.where(face[:, None], face_variance / (face_variance + scene_variance), 1.0)
    fused = weight * scene + (1 - weight) * np.where(face[:, None], seen, 0)
    variance = np.where(face[:, None], 1 / (1 / scene_variance + 1 / face_variance), scene_variance)
    columns: dict[str, object] = {
        "sample_id": [names.get(k, f"image {k:05d}" if not video[k] else f"clip#{k - rows}") for k in range(n)],
        "uri": [str(files[k % len(files)]) if read[k] else str(files[0].parent / f"gone {k}.jpg") for k in range(n)],
        "frame_index": [None for k in range(n)],
        "timestamp": [(k - rows) / 25 if video[k] else None for k in range(n)],
        "sequence": ["clip" if v else None for v in video],
        "group": [f"group {k // 3}" if not video[k] else "clip" for k in range(n)],
        "split": ["test"] * n,
        "face_count": np.where(face, 1, 0),
        "face_score": [0.9 if f else None for f in face],
        "face_box": [list(BOX) if f else None for f in face],
        "in_sample": (index % 3 == 2) & ~video,
        "luma": [120.0 if r else None for r in read],
        "width": [SIZE[0] if r else None for r in read],
        "height": [SIZE[1] if r else None for r in read],
        "status": ["error" if not r else "ok" if f else "no_face" for r, f in zip(read, face, strict=True)],
        "error": [None if r else ("file not found" if k % 2 else "image is truncated") for k, r in enumerate(read)],
    }
    for d, axis in enumerate(AXES):
        held = video & (index % 11 == 5)
        columns[axis] = _or_null(truth[:, d], np.full(n, labels))
        columns[f"{axis}_std"] = _or_null(np.full(n, 0.3), np.full(n, labels))
        columns[f"{axis}_n"] = [100 if labels else None] * n
        columns |= _prediction("scene", axis, scene[:, d], scene_variance[:, d], read)
        columns |= _prediction("face", axis, seen[:, d], face_variance[:, d], face)
        columns |= _prediction("fused", axis, fused[:, d], variance[:, d], read)
        columns[f"scene_weight_{axis}"] = _or_null(weight[:, d], read)
        columns[f"smoothed_{axis}"] = _or_null(_ema(fused[:, d], held), video)
        columns[f"held_{axis}"] = [bool(h) if v else None for h, v in zip(held, video, strict=True)]
    return schema.conform(pa.table({k: pa.array(v) for k, v in columns.items()}), schema.FUSED, "fused")


def _ema(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    out = values.copy()
    for k in range(1, len(out)):
        out[k] = out[k - 1] if held[k] else 0.3 * values[k] + 0.7 * out[k - 1]
    return out


def _prediction(who: str, axis: str, mean: np.ndarray, variance: np.ndarray, known: np.ndarray) -> dict[str, list]:
    return {f"{who}_{axis}": _or_null(mean, known), f"{who}_{axis}_variance": _or_null(variance, known)}


def _or_null(values: np.ndarray, known: np.ndarray) -> list[float | None]:
    return [float(v) if k else None for v, k in zip(values, known, strict=True)]


def _evaluation(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Metrics and comparisons as the evaluation makes them."""
    read = table.filter(pc.not_equal(table.column("status"), "error"))
    on = EvaluationRows.of(read, "test", 1 - both(read, "scene_weight"))
    scene, face = both(read, "scene"), both(read, "face")
    systems = {name: System(both(read, name), both(read, name, "variance")) for name in ("scene", "face", "fused")}
    unknown = np.full(scene.shape, np.nan)
    systems["equal"] = System(np.where(np.isfinite(face), (scene + face) / 2, scene), unknown)
    for name, value in (("constant_mean", 0.02), ("constant_median", -0.01)):
        systems[name] = System(np.full(scene.shape, value), unknown)
    return measure(on, systems, StatisticsConfig()), compare(on, systems, StatisticsConfig())
