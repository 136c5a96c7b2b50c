"""From an address to the prepared image, or face crop, that a backbone is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from emofuse.config import ComputeConfig, FaceConfig, MediaConfig
from emofuse.experts.preprocess import Preprocessing
from emofuse.io.images import DecodedImage, MediaError, decode_image, read_bytes

Box = tuple[float, ...]
"""left, top, right, bottom of a person, in pixels of the full-size image."""
Cutter = Callable[[DecodedImage, Box | None], np.ndarray | None]
"""From a decoded image and a person in it to the part that is evaluated, or None where there is none."""


@dataclass(frozen=True)
class FeatureSource:
    """What features are made of and with, besides the backbone.

    Attributes:
        preprocessing: applied to each image or crop.
        cut: which part of an image is evaluated: all of it, or its main face.
        face: how faces are found, where they are.
        media: how images are read.
        compute: batch shape, precision and device.
    """

    preprocessing: Preprocessing
    cut: Literal["scene", "face"] = "scene"
    face: FaceConfig = field(default_factory=FaceConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def decode(self, data: bytes) -> DecodedImage:
        """A file's bytes as the image that is cut and prepared: a scene as it is served, a face from full size."""
        if self.cut == "scene":
            return self.preprocessing.decode(data, self.media)
        return decode_image(data, self.media)

    def cutter(self) -> Cutter:
        """The function that takes the evaluated part out of a decoded image."""
        if self.cut == "scene":
            return lambda image, _: image.rgb
        from emofuse.experts.face.finder import FaceFinder

        finder = FaceFinder(self.face, self.compute)

        def main_face(image: DecodedImage, person: Box | None) -> np.ndarray | None:
            crops = finder(image.rgb, image.scale, person).crops
            return crops[0] if len(crops) else None

        return main_face


def prepared(
    parts: Mapping[str, tuple[str, Box | None]], source: FeatureSource
) -> Iterator[tuple[str, np.ndarray | None, str | None]]:
    """Key, prepared image and, where there is none, the reason; for each of `parts` in turn.

    Args:
        parts: key → address of an image, and the person in it whose face is meant.
        source: how images are read, cut and prepared.
    """
    cut = source.cutter()
    for value, (uri, person) in parts.items():
        try:
            part = cut(source.decode(read_bytes(uri, source.media)), person)
        except MediaError as error:
            yield value, None, error.kind
            continue
        yield value, None if part is None else source.preprocessing.apply(part), None if part is not None else "no face"
