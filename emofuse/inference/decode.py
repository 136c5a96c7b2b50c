"""The decode stage: addresses in, fixed-size `uint8` images and face crops out, one row for each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from emofuse.config import InferenceConfig
from emofuse.experts.card import preprocessing_of
from emofuse.experts.face.alignment import CROP_SIZE
from emofuse.experts.face.finder import FaceFinder, FoundFaces
from emofuse.experts.preprocess import ENOUGH, Preprocessing
from emofuse.io.images import DecodedImage, MediaError, content_hash, decode_image, read_bytes
from emofuse.io.malloc import reuse_memory
from emofuse.io.video import VideoReader
from emofuse.tables.schema import MANIFEST

DECODED = pa.schema(
    [
        *MANIFEST,
        pa.field("content", pa.string()),
        pa.field("scene", pa.large_binary()),
        pa.field("faces", pa.large_binary()),
        pa.field("face_areas", pa.list_(pa.float32())),
        pa.field("face_count", pa.int32()),
        pa.field("face_score", pa.float32()),
        pa.field("face_box", pa.list_(pa.float32())),
        pa.field("face_aligned", pa.bool_()),
        pa.field("luma", pa.float32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("error", pa.string()),
    ]
)
"""What travels from decoding to the models: manifest columns, pixels as bytes, and what was seen on the way. The
user's own columns follow, their names begun with `EXTRA`: they may be called as anything here."""
EXTRA = "extra:"


class Decoder:
    """Turns a batch of manifest rows into a batch of decoded rows, one for one.

    It is called as a task (`decode`) where its detector runs on the CPU, and as an actor
    where the detector is a torch network. It never sees more than one full-size image at a time.
    """

    def __init__(self, config: InferenceConfig) -> None:
        reuse_memory()
        cv2.setNumThreads(0)
        self._media = config.media
        self._videos = VideoReader(config.media)
        self._preprocessing: Preprocessing = preprocessing_of(config.scene)
        self._finder = FaceFinder(config.face, config.compute) if config.face.expert != "none" else None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Manifest rows to rows of `DECODED` and the user's own columns; what cannot be read says why in `error`."""
        uris, frames, boxes = (batch.column(name).to_pylist() for name in ("uri", "frame_index", "person_box"))
        rows: list[dict[str, Any]] = [{}] * len(uris)
        videos: dict[str, dict[int, list[int]]] = {}
        for i, (uri, frame) in enumerate(zip(uris, frames, strict=True)):
            if frame is None:
                rows[i] = self._row(uri, boxes[i])
            else:
                videos.setdefault(uri or "", {}).setdefault(frame, []).append(i)
        for uri, members in videos.items():
            wanted = batch.take([i for same in members.values() for i in same])
            for frame, image in self._frames(uri, wanted):
                for i in members[frame]:
                    rows[i] = _failed(image) if isinstance(image, MediaError) else self._see(image, boxes[i])
        columns = [batch.column(name) for name in MANIFEST.names]
        made = [pa.array([row.get(f.name) for row in rows], f.type) for f in DECODED if f.name not in MANIFEST.names]
        out = pa.Table.from_arrays([*columns, *made], schema=DECODED)
        for name in batch.column_names[len(MANIFEST) :]:
            out = out.append_column(EXTRA + name, batch.column(name))
        return out

    def _row(self, uri: str | None, box: list[float] | None) -> dict[str, Any]:
        try:
            data = read_bytes(uri or "", self._media)
            seen = self._see(self._preprocessing.decode(data, self._media), box, data)
            return {"content": content_hash(data), **seen}
        except MediaError as error:
            return _failed(error)

    def _frames(self, uri: str, rows: pa.Table) -> Iterator[tuple[int, DecodedImage | MediaError]]:
        """The frames of one video, decoded in order whatever the order of the rows, one at a time."""
        rows = rows.group_by("frame_index").aggregate([("timestamp", "min")]).sort_by("frame_index")
        indices, times = rows.column("frame_index").to_pylist(), rows.column("timestamp_min")
        try:
            yield from self._videos.read(uri, indices, None if times.null_count else times.to_pylist())
        except MediaError as error:
            yield from ((index, error) for index in indices)

    def _see(self, image: DecodedImage, box: list[float] | None, data: bytes | None = None) -> dict[str, Any]:
        seen: dict[str, Any] = {
            "scene": self._preprocessing.apply(image.rgb).tobytes(),
            "luma": image.luma,
            "width": image.width,
            "height": image.height,
        }
        return seen | (self._find(self._finder, image, box, data) if self._finder else {})

    def _find(
        self, finder: FaceFinder, image: DecodedImage, box: list[float] | None, data: bytes | None
    ) -> dict[str, Any]:
        found = finder(image.rgb, image.scale, box)
        if not found.count:
            return {"face_count": 0}
        if data is not None and image.scale > 1:
            found = self._closer(finder, found, image, data)
        main = found.faces[0]
        return {
            "faces": found.crops.tobytes(),
            "face_areas": [face.area for face in found.faces],
            "face_count": found.count,
            "face_score": main.score,
            "face_box": [float(edge) for edge in main.box],
            "face_aligned": bool(found.aligned[0]),
        }

    def _closer(self, finder: FaceFinder, found: FoundFaces, image: DecodedImage, data: bytes) -> FoundFaces:
        """The same faces cut from more pixels, where a reduced decoding left their crops too few."""
        smallest = min(float(np.max(face.box[2:] - face.box[:2])) for face in found.faces)
        enough = smallest / (ENOUGH * CROP_SIZE)
        if image.scale <= max(1.0, enough):
            return found
        sharper = decode_image(data, self._media, int(min(image.width, image.height) / max(1.0, enough)))
        return finder.cut(sharper.rgb, found, sharper.scale)


def _failed(error: MediaError) -> dict[str, Any]:
    return {"error": str(error)}


@lru_cache(maxsize=2)
def _decoder(config: InferenceConfig) -> Decoder:
    return Decoder(config)


def decode(batch: pa.Table, config: InferenceConfig) -> pa.Table:
    """`Decoder` as a plain function; a worker process makes its decoder once."""
    return _decoder(config)(batch)


def pixels(column: pa.ChunkedArray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The images of a binary column, stacked, and the row of each.

    Args:
        column: bytes of zero or more images in each row; null is none.
        shape: of one image, uint8.

    Returns:
        uint8 (N, *shape) and int64 (N,).
    """
    size = int(np.prod(shape))
    rows: list[int] = []
    parts: list[np.ndarray] = []
    for i, value in enumerate(column):
        if value.is_valid:
            part = np.frombuffer(value.as_buffer(), np.uint8)
            parts.append(part.reshape(-1, *shape))
            rows.extend([i] * (part.size // size))
    stacked = np.concatenate(parts) if parts else np.empty((0, *shape), np.uint8)
    return stacked, np.array(rows, dtype=np.int64)
