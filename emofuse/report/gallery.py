"""The gallery: which pictures to show, their thumbnails and both experts' opinions."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from emofuse.affect import AXES
from emofuse.columns import both
from emofuse.config import MediaConfig
from emofuse.errors import DataError
from emofuse.media import read_picture
from emofuse.report.run_folder import RunFolder
from emofuse.report.tables import decimal

THUMBNAIL = 320
"""Longer side of a thumbnail, pixels."""
ORDERS = {
    "worst": "Largest error",
    "best": "Smallest error",
    "uncertain": "Most uncertain",
    "disagree": "Most disagreeing",
}
WHO = ("rated", "scene", "face", "fused")
_FRAME = (255, 255, 255)
_UNDER = (20, 60, 90)


@dataclass(frozen=True)
class Opinion:
    """One line of a card: who, and valence and arousal as `mean ± sd` or a dash."""

    who: str
    valence: str
    arousal: str


@dataclass(frozen=True)
class Card:
    """One picture of the gallery.

    Attributes:
        image: a data address of the thumbnail; empty where the picture cannot be read.
        problem: why it cannot be read; empty where it can.
        keys: what each order sorts by, larger first; NaN where it is unknown.
    """

    sample_id: str
    address: str
    image: str
    problem: str
    alt: str
    note: str
    opinions: tuple[Opinion, ...]
    keys: dict[str, float]


def rank_keys(run: RunFolder) -> dict[str, np.ndarray]:
    """What each order sorts by, larger first, shape (rows,): distances in the plane and the predicted deviation."""
    fused = both(run.fused, "fused")
    error = np.linalg.norm(both(run.fused) - fused, axis=-1)
    return {
        "worst": error,
        "best": -error,
        "uncertain": np.sqrt(both(run.fused, "fused", "variance").mean(axis=-1)),
        "disagree": np.linalg.norm(both(run.fused, "scene") - both(run.fused, "face"), axis=-1),
    }


def choose(keys: dict[str, np.ndarray], allowed: np.ndarray, most: int) -> np.ndarray:
    """The rows to show: the first of every order, as many of each as fit.

    Args:
        keys: the orders; NaN is never chosen.
        allowed: bool, shape (rows,).
        most: how many rows at most.

    Returns:
        Row numbers in the order of the first key that knows any row.
    """
    queues = []
    for values in keys.values():
        known = np.flatnonzero(allowed & np.isfinite(values))
        queues.append(known[np.argsort(-values[known], kind="stable")])
    queues = [queue for queue in queues if len(queue)] or [np.flatnonzero(allowed)]
    chosen: dict[int, None] = {}
    for rank in range(max(map(len, queues))):
        for queue in queues:
            if rank < len(queue) and len(chosen) < most:
                chosen[int(queue[rank])] = None
        if len(chosen) >= most:
            break
    first = next((v for v in keys.values() if np.isfinite(v[allowed]).any()), np.zeros(len(allowed)))
    rows = np.fromiter(chosen, dtype=np.int64, count=len(chosen))
    return rows[np.argsort(-np.nan_to_num(first[rows], nan=-np.inf), kind="stable")]


def gallery(run: RunFolder, most: int, media: MediaConfig | None = None) -> list[Card]:
    """At most `most` cards of judged pictures; an unreadable picture has a card with the reason."""
    if not run.fused.num_rows or most < 1:
        return []
    keys = rank_keys(run)
    allowed = run.judged & np.isfinite(both(run.fused, "fused")).any(axis=-1)
    if not allowed.any():
        return []
    config = media or MediaConfig()
    rows = choose(keys, allowed, most)
    records = run.fused.take(rows).to_pylist()
    return [
        _card(record, {k: float(v[i]) for k, v in keys.items()}, config)
        for i, record in zip(rows, records, strict=True)
    ]


def _card(row: dict, keys: dict[str, float], media: MediaConfig) -> Card:
    image, problem = thumbnail(row, media)
    name = row["sample_id"]
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
    opinions = tuple(_opinion(row, who) for who in WHO)
    shown = tuple(o for o in opinions if o.valence != "–" or o.arousal != "–")
    return Card(name, row["uri"] or "", image, problem, f"{name}{box}", " · ".join(notes), shown, keys)


def _opinion(row: dict, who: str) -> Opinion:
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
    return Opinion(who, *texts)


def thumbnail(row: dict, media: MediaConfig) -> tuple[str, str]:
    """A picture as a small JPEG's data address with the face boxed, or the reason why there is none."""
    try:
        picture = read_picture(row["uri"] or "", media, min_side=THUMBNAIL)
    except DataError as error:
        return "", str(error)
    image = Image.fromarray(picture.rgb)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    if row["face_box"]:
        draw_box(image, row["face_box"], picture.width)
    return data_address(image), ""


def draw_box(image: Image.Image, box: list[float], full_width: int) -> None:
    """Outline a box given in pixels of the full-size picture; a corner that is not finite draws nothing."""
    if len(box) != 4 or not all(math.isfinite(edge) for edge in box):
        return
    left, top, right, bottom = (edge * image.width / full_width for edge in box)
    pen = ImageDraw.Draw(image)
    if right > left and bottom > top:
        pen.rectangle((left, top, right, bottom), outline=_UNDER, width=4)
        pen.rectangle((left + 1, top + 1, max(left + 1, right - 1), max(top + 1, bottom - 1)), outline=_FRAME, width=2)


def data_address(image: Image.Image) -> str:
    """A picture as a JPEG in a data address."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
