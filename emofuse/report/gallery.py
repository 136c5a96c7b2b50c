"""The gallery: which images to show, their thumbnails and both experts' predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from emofuse.affect import AXES
from emofuse.config import MediaConfig
from emofuse.report.facts import varying_axes
from emofuse.report.run_folder import RunFolder
from emofuse.report.tables import decimal
from emofuse.report.thumbnails import Thumbnail, thumbnails
from emofuse.tables.columns import both, column, texts

ORDERS = {
    "worst": "Largest error",
    "best": "Smallest error",
    "uncertain": "Most uncertain",
    "disagree": "Most disagreeing",
}
WHO = ("rated", "scene", "face", "fused")


@dataclass(frozen=True)
class Prediction:
    """One line of a card: who, and valence and arousal as `mean ± sd` or a dash."""

    who: str
    valence: str
    arousal: str


@dataclass(frozen=True)
class Card:
    """One image of the gallery.

    Attributes:
        name: of the file.
        image: a data address of the thumbnail; empty where the image cannot be read.
        problem: why it cannot be read; empty where it can.
        keys: what each order sorts by, larger first; NaN where it is unknown.
    """

    name: str
    sample_id: str
    address: str
    image: str
    problem: str
    alt: str
    note: str
    predictions: tuple[Prediction, ...]
    keys: dict[str, float]


def rank_keys(run: RunFolder) -> dict[str, np.ndarray]:
    """What each order sorts by, larger first, shape (rows,): distances in the plane and the predicted deviation.

    Deviations that are the same on every image sort nothing, and are left out.
    """
    fused, axes = both(run.fused, "fused"), varying_axes(run)
    spread = both(run.fused, "fused", "variance")[:, axes].sum(axis=-1) if axes else np.full(len(fused), np.nan)
    error = np.linalg.norm(both(run.fused) - fused, axis=-1)
    return {
        "worst": error,
        "best": -error,
        "uncertain": np.sqrt(spread / max(len(axes), 1)),
        "disagree": np.linalg.norm(both(run.fused, "scene") - both(run.fused, "face"), axis=-1),
    }


def choose(keys: dict[str, np.ndarray], allowed: np.ndarray, most: int, scenes: np.ndarray | None = None) -> np.ndarray:
    """The rows to show: the first of every order, as many of each as fit.

    Args:
        keys: the orders; NaN is never chosen.
        allowed: bool, shape (rows,).
        most: how many rows at most.
        scenes: shape (rows,), which rows look alike; one of each is enough. By default none do.

    Returns:
        Row numbers in the order of the first key that knows any row.
    """
    queues = []
    for values in keys.values():
        known = np.flatnonzero(allowed & np.isfinite(values))
        queues.append(known[np.argsort(-values[known], kind="stable")])
    queues = [queue for queue in queues if len(queue)] or [np.flatnonzero(allowed)]
    scenes = np.arange(len(allowed)) if scenes is None else scenes
    chosen: dict[int, int] = {}
    for rank in range(max(map(len, queues))):
        for queue in queues:
            if rank < len(queue) and len(chosen) < most:
                chosen.setdefault(int(scenes[queue[rank]]), int(queue[rank]))
        if len(chosen) >= most:
            break
    first = next((v for v in keys.values() if np.isfinite(v[allowed]).any()), np.zeros(len(allowed)))
    rows = np.fromiter(chosen.values(), dtype=np.int64, count=len(chosen))
    return rows[np.argsort(-np.nan_to_num(first[rows], nan=-np.inf), kind="stable")]


def alike(run: RunFolder) -> np.ndarray:
    """Which rows show the same scene, shape (rows,): the frames of one second of a sequence; else each its own."""
    names = texts(run.fused, "sequence")
    second = np.floor(np.nan_to_num(column(run.fused, "timestamp")))
    keys = [i if name is None else (name, s) for i, (name, s) in enumerate(zip(names, second, strict=True))]
    number = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys])


def gallery(run: RunFolder, most: int, media: MediaConfig | None = None) -> list[Card]:
    """At most `most` cards of evaluated images; an unreadable image has a card with the reason."""
    if not run.fused.num_rows or most < 1:
        return []
    keys = rank_keys(run)
    allowed = run.evaluated & np.isfinite(both(run.fused, "fused")).any(axis=-1)
    if not allowed.any():
        return []
    rows = choose(keys, allowed, most, alike(run))
    records = run.fused.take(rows).to_pylist()
    images = thumbnails(records, media or MediaConfig())
    return [
        _card(record, {name: float(values[i]) for name, values in keys.items()}, image)
        for i, record, image in zip(rows, records, images, strict=True)
    ]


def _card(row: dict[str, Any], keys: dict[str, float], image: Thumbnail) -> Card:
    name = _name(row)
    box = "; the main face is boxed" if row["face_box"] else ""
    notes = []
    if math.isfinite(keys["worst"]):
        notes.append(f"error {decimal(keys['worst'], 2)}")
    if math.isfinite(keys["disagree"]):
        notes.append(f"scene and face {decimal(keys['disagree'], 2)} apart")
    weights = [row[f"scene_weight_{axis}"] for axis in AXES]
    if row["face_box"] and None not in weights:
        notes.append("face weight " + " / ".join(decimal(1 - weight, 2) for weight in weights))
    if not row["face_box"]:
        notes.append("no face")
    predictions = tuple(_prediction(row, who) for who in WHO)
    shown = tuple(o for o in predictions if o.valence != "–" or o.arousal != "–")
    return Card(name, row["sample_id"], row["uri"] or "", *image, f"{name}{box}", " · ".join(notes), shown, keys)


def _name(row: dict[str, Any]) -> str:
    """The file's name, with the frame of a video; the row's id where it has no address."""
    file = (row["uri"] or "").rstrip("/").rsplit("/", 1)[-1] or row["sample_id"]
    return file if row["frame_index"] is None else f"{file}, frame {row['frame_index']}"


def _prediction(row: dict[str, Any], who: str) -> Prediction:
    prefix = "" if who == "rated" else f"{who}_"
    texts = []
    for axis in AXES:
        mean = row[f"{prefix}{axis}"]
        if who == "rated":
            spread = row[f"{axis}_std"]
        else:
            variance = row[f"{prefix}{axis}_variance"]
            spread = math.sqrt(variance) if variance is not None and variance >= 0 else None
        missing = mean is None or not math.isfinite(mean)
        known = spread is not None and math.isfinite(spread)
        texts.append("–" if missing else decimal(mean, 2, sign=True) + (f" ± {decimal(spread, 2)}" if known else ""))
    return Prediction(who, *texts)
