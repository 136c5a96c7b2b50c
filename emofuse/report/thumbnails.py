"""Small images for the page: read through the project's own readers, the face boxed, never failing the page."""

from __future__ import annotations

import base64
import io
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image, ImageDraw

from emofuse.config import MediaConfig
from emofuse.datasets.root import is_image
from emofuse.errors import DataError
from emofuse.io.images import DecodedImage, MediaError, read_image
from emofuse.io.video import VideoReader

LONGER_SIDE = 320
"""Of a thumbnail, pixels."""
SECONDS = 30.0
"""Images not yet begun after this time are left out, so that slow storage or long films do not hold up a report."""
READERS = 8
_LATE = f"left out: the images before it took {SECONDS:.0f} s"
_FRAME = (255, 255, 255)
_UNDER = (20, 60, 90)

Thumbnail = tuple[str, str]
"""A JPEG's data address and an empty reason, or an empty address and the reason why there is none."""


def thumbnails(rows: Sequence[dict[str, Any]], media: MediaConfig) -> list[Thumbnail]:
    """One thumbnail for each row of the fused table.

    Args:
        rows: with `uri`, `frame_index`, `timestamp` and `face_box`.
        media: the limits under which images are read.
    """
    until = time.monotonic() + SECONDS
    made: list[Thumbnail] = [("", _LATE)] * len(rows)
    videos: dict[str, list[int]] = defaultdict(list)
    images = []
    for i, row in enumerate(rows):
        if row["frame_index"] is not None and not is_image(row["uri"] or ""):
            videos[row["uri"] or ""].append(i)
        else:
            images.append(i)
    with ThreadPoolExecutor(READERS) as pool:
        for i, done in zip(images, pool.map(lambda i: _image(rows[i], media, until), images), strict=True):
            made[i] = done
    for uri, places in videos.items():
        for i, done in _frames(uri, places, rows, media, until).items():
            made[i] = done
    return made


def _image(row: dict[str, Any], media: MediaConfig, until: float) -> Thumbnail:
    if time.monotonic() > until:
        return "", _LATE
    try:
        return _small(read_image(row["uri"] or "", media, min_side=LONGER_SIDE), row)
    except DataError as error:
        return "", str(error)


def _frames(
    uri: str, places: list[int], rows: Sequence[dict[str, Any]], media: MediaConfig, until: float
) -> dict[int, Thumbnail]:
    """The thumbnails of one video's frames, each decoded once and in order."""
    at = {int(rows[i]["frame_index"]): i for i in sorted(places, key=lambda i: rows[i]["frame_index"])}
    times = [rows[i]["timestamp"] for i in at.values()]
    known = None if any(t is None for t in times) else times
    made: dict[int, Thumbnail] = {}
    with VideoReader(media) as reader:
        for frame, found in reader.read(uri, list(at), known):
            row = rows[at[frame]]
            made[at[frame]] = ("", str(found)) if isinstance(found, MediaError) else _small(found, row)
            if time.monotonic() > until:
                break
    # A frame that stands in two rows is read once.
    return {i: made.get(at[int(rows[i]["frame_index"])], ("", _LATE)) for i in places}


def _small(image: DecodedImage, row: dict[str, Any]) -> Thumbnail:
    small = Image.fromarray(image.rgb)
    small.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    if row["face_box"]:
        draw_box(small, row["face_box"], image.width)
    return data_address(small), ""


def draw_box(image: Image.Image, box: Sequence[float], full_width: int) -> None:
    """Outline a box given in pixels of the full-size image; one with a corner that is not finite draws nothing."""
    if len(box) != 4 or not all(math.isfinite(edge) for edge in box):
        return
    left, top, right, bottom = (edge * image.width / full_width for edge in box)
    pen = ImageDraw.Draw(image)
    if right - left > 2 and bottom - top > 2:
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_UNDER, width=4)
        pen.rectangle((left, top, right, bottom), outline=_FRAME, width=2)


def data_address(image: Image.Image) -> str:
    """An image as a JPEG in a data address."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
