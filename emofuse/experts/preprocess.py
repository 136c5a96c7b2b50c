"""An image of any size as the fixed-size uint8 array that a backbone takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from emofuse.config import MediaConfig
from emofuse.errors import CheckpointError, ConfigError
from emofuse.io.images import DecodedImage, decode_image

Geometry = Literal["squash", "crop"]
Interpolation = Literal["area", "bilinear", "bicubic", "lanczos"]
CHOICES = ("own", "squash", "crop")
"""The names under which a preprocessing can be asked for: the backbone's own, or its own with another geometry."""
ENOUGH = 2
"""Pixels of a reduced decoding per pixel that is needed, at least."""

_PIL_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image's pixels before a backbone; numpy, OpenCV and Pillow only, so it pickles into any task.

    Attributes:
        size: side S of the square that leaves, in pixels.
        geometry: `squash` scales both sides to S; `crop` scales the shorter side to S / `crop_fraction` and cuts the
            middle S x S, as open_clip and timm evaluate.
        interpolation: `area` is OpenCV's (bicubic where it enlarges); the others are Pillow's antialiased filters, so
            that the pixels are those of torchvision's transforms to the last bit.
        mean: per-channel mean in [0, 1], subtracted on the device.
        std: per-channel standard deviation in [0, 1], divided by on the device.
        crop_fraction: share of the shorter side that `crop` keeps.
    """

    size: int
    geometry: Geometry
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.geometry not in ("squash", "crop"):
            raise ConfigError(f"geometry must be squash or crop; got {self.geometry!r}")
        if self.interpolation != "area" and self.interpolation not in _PIL_FILTERS:
            raise ConfigError(
                f"interpolation must be area or one of {', '.join(_PIL_FILTERS)}; got {self.interpolation!r}"
            )
        if self.size < 1 or not 0 < self.crop_fraction <= 1:
            raise ConfigError(
                f"size must be positive and crop_fraction in (0, 1]; got {self.size}, {self.crop_fraction}"
            )

    @property
    def shorter_side(self) -> int:
        """The side to which the shorter side of an image is scaled, in pixels."""
        return math.floor(self.size / self.crop_fraction) if self.geometry == "crop" else self.size

    @property
    def min_side(self) -> int:
        """Minimum shorter side at which an image may be decoded: twice what the crop needs, in pixels."""
        return ENOUGH * self.shorter_side

    def decode(self, data: bytes, media: MediaConfig) -> DecodedImage:
        """A file's bytes as the image that `apply` takes; the one rule of how far a JPEG may be reduced.

        Training and serving both decode here, so that a head is served on the pixels that it was trained on.

        Raises:
            MediaError: as `decode_image`.
        """
        return decode_image(data, media, self.min_side)

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """`rgb` uint8 (H, W, 3) as uint8 (S, S, 3), contiguous.

        Raises:
            ValueError: if `rgb` is not a non-empty uint8 image of three channels.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ValueError(f"expected a uint8 image (H, W, 3), got {rgb.dtype} {rgb.shape}")
        if self.geometry == "squash":
            return self._resize(rgb, self.size, self.size)
        height, width = rgb.shape[:2]
        short = self.shorter_side
        # torchvision: the shorter side exactly, the longer one truncated; the crop's offset rounded.
        if width <= height:
            scaled = self._resize(rgb, short, int(short * height / width))
        else:
            scaled = self._resize(rgb, int(short * width / height), short)
        top, left = (round((side - self.size) / 2) for side in scaled.shape[:2])
        return np.ascontiguousarray(scaled[top : top + self.size, left : left + self.size])

    def _resize(self, rgb: np.ndarray, width: int, height: int) -> np.ndarray:
        if rgb.shape[:2] == (height, width):
            return np.ascontiguousarray(rgb)
        if self.interpolation != "area":
            image = Image.fromarray(np.ascontiguousarray(rgb))
            return np.array(image.resize((width, height), _PIL_FILTERS[self.interpolation]))
        enlarges = width > rgb.shape[1] or height > rgb.shape[0]
        method = cv2.INTER_CUBIC if enlarges else cv2.INTER_AREA
        return np.asarray(cv2.resize(rgb, (width, height), interpolation=method))

    def chosen(self, choice: str) -> Preprocessing:
        """This preprocessing under one of `CHOICES`.

        Raises:
            ConfigError: for another name.
        """
        if choice not in CHOICES:
            raise ConfigError(f"preprocessing must be one of {', '.join(CHOICES)}; got {choice!r}")
        if choice == "own":
            return self
        return replace(self, geometry=choice, crop_fraction=1.0)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """This preprocessing as JSON values, for a head's card."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that `to_json` wrote.

        Raises:
            CheckpointError: if the card holds other fields.
        """
        try:
            return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the card's preprocessing cannot be read: {error}") from None
