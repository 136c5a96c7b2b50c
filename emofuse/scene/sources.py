"""From an address to the prepared picture, or face crop, that a tower is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from emofuse.config import ComputeConfig, FaceConfig, MediaConfig
from emofuse.media import MediaError, decode_picture, read_bytes
from emofuse.scene.preprocess import Preprocessing

Cutter = Callable[[np.ndarray], np.ndarray | None]
"""From a decoded picture to the part that is judged, or None where there is none."""


@dataclass(frozen=True)
class FeatureSource:
    """What features are made of and with, besides the tower.

    Attributes:
        preprocessing: applied to each picture or crop.
        cut: which part of a picture is judged: all of it, or its main face.
        face: how faces are found, where they are.
        media: how pictures are read.
        compute: batch shape, precision and device.
    """

    preprocessing: Preprocessing
    cut: Literal["scene", "face"] = "scene"
    face: FaceConfig = field(default_factory=FaceConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def cutter(self) -> Cutter:
        """The function that takes the judged part out of a decoded picture."""
        if self.cut == "scene":
            return lambda rgb: rgb
        from emofuse.face.finder import FaceFinder

        finder = FaceFinder(self.face)

        def main_face(rgb: np.ndarray) -> np.ndarray | None:
            crops = finder(rgb).crops
            return crops[0] if len(crops) else None

        return main_face


def prepared(uris: dict[str, str], source: FeatureSource) -> Iterator[tuple[str, np.ndarray | None, str | None]]:
    """Content hash, prepared picture and, where there is none, the reason; for each picture of `uris` in turn.

    Args:
        uris: content hash → address.
        source: how pictures are read, cut and prepared.
    """
    cut = source.cutter()
    least = source.preprocessing.min_side if source.cut == "scene" else None
    for value, uri in uris.items():
        try:
            part = cut(decode_picture(read_bytes(uri, source.media), source.media, least).rgb)
        except MediaError as error:
            yield value, None, error.kind
            continue
        yield value, None if part is None else source.preprocessing.apply(part), None if part is not None else "no face"
