"""Prepared images on disk: what an unfrozen phase reads again in every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emofuse.io.images import MediaError
from emofuse.io.storage import replacing
from emofuse.runs import run as runs
from emofuse.training.features import FeatureSet
from emofuse.training.image_source import FeatureSource, prepared


class ImageRows:
    """Rows of an image store, read from disk as they are asked for.

    Args:
        store: uint8 (M, S, S, 3), memory-mapped.
        order: for each row the place of its image in the store.
    """

    def __init__(self, store: np.ndarray, order: np.ndarray) -> None:
        self._store, self._order = store, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self._store[self._order[rows]])


class ImageStore:
    """Every distinct image of some rows, decoded and prepared once, in one memory-mapped file.

    Args:
        rows: all rows that may be asked for.
        source: how images are read, cut and prepared.
        cache: folder of the file.
    """

    def __init__(self, rows: FeatureSet, source: FeatureSource, cache: Path) -> None:
        self._parts = rows.parts()
        self._places = {value: i for i, value in enumerate(self._parts)}
        self._source = source
        face = source.face if source.cut == "face" else None
        key = runs.fingerprint(list(self._parts), source.preprocessing, source.cut, face)
        self._path = cache / f"images-{key[:16]}.npy"

    def __call__(self, rows: FeatureSet) -> ImageRows:
        """The images of these rows, in their order."""
        if not self._path.is_file():
            self._write()
        store = np.load(self._path, mmap_mode="r")
        return ImageRows(store, np.array([self._places[value] for value in rows.keys], dtype=np.int64))

    def _write(self) -> None:
        size = self._source.preprocessing.size
        shape = (len(self._parts), size, size, 3)
        with replacing(self._path) as pending:
            store = np.lib.format.open_memmap(pending, mode="w+", dtype=np.uint8, shape=shape)
            for place, (_, image, reason) in enumerate(prepared(self._parts, self._source)):
                if image is None:
                    uri, _ = list(self._parts.values())[place]
                    raise MediaError("changed", f"{uri} could be used before, now: {reason}")
                store[place] = image
            store.flush()
