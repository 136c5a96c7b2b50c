"""Reading and decoding images: bytes to upright RGB, within limits, with a reason where that fails.

Pixels come from Pillow, which reads every format named here and knows when a file ends
too early. Only raster formats are opened: nothing that starts an interpreter.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from emofuse.config import MediaConfig
from emofuse.errors import DataError
from emofuse.io.addresses import display_uri, is_remote
from emofuse.io.retry import bound_client, reason, retry

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
MAX_ADDRESS = 8192
"""Characters of an address, at most."""
_LUMA = np.array([0.299, 0.587, 0.114])


class MediaError(DataError):
    """Why an image cannot be read: `kind` is one of a few words, the message adds the particulars."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        return type(self), (self.kind, self.detail)


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        rgb: uint8, (H, W, 3), upright; at reduced scale where the decoder could save work.
        width: of the full-size upright image, pixels.
        height: of the full-size upright image, pixels.
    """

    rgb: np.ndarray
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Full-size pixels per pixel of `rgb`."""
        return self.width / self.rgb.shape[1]

    @property
    def luma(self) -> float:
        """Mean BT.601 luma, 0-255."""
        return float(self.rgb.reshape(-1, 3).mean(axis=0, dtype=np.float64) @ _LUMA)


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def resolve(uri: str, root: str | None) -> str:
    """The address to open for a manifest's address, which `root` confines.

    Args:
        uri: a local path, `file://` address, or any URI that fsspec opens.
        root: a folder or address that everything read must lie below; None allows everything.

    Raises:
        MediaError: kind "outside root" where the address, with links followed, is not below it.
    """
    if not uri or len(uri) > MAX_ADDRESS:
        raise MediaError("no address", f"the uri has {len(uri):,} characters, 1 to {MAX_ADDRESS:,} are allowed")
    plain = unquote(re.sub("^file:(//[^/]*)?", "", uri)) if uri.startswith("file:") else uri
    if "\0" in plain:
        raise MediaError("no address", "the uri holds a NUL character")
    if root is None:
        return plain
    inside = _below_address(uri, root) if is_remote(root) else _below_folder(plain, root)
    if inside is None:
        raise MediaError("outside root", f"{display_uri(uri)} is not below {display_uri(root)}")
    return inside


def _below_address(uri: str, root: str) -> str | None:
    base = root.rstrip("/") + "/"
    joined = uri if is_remote(uri) else base + uri
    climbs = ".." in re.split(r"[/\\]", unquote(joined))
    # A chained address (`::`) names a second place, which no root confines.
    outside = climbs or "::" in uri or uri.startswith(("/", "file:")) or not joined.startswith(base)
    return None if outside else joined


def _below_folder(path: str, root: str) -> str | None:
    base = os.path.realpath(root.removeprefix("file://"))
    full = os.path.realpath(os.path.join(base, path))
    return full if not is_remote(path) and Path(full).is_relative_to(base) else None


def read_bytes(uri: str, config: MediaConfig | None = None) -> bytes:
    """The whole file behind an address.

    Raises:
        MediaError: kinds "missing", "folder", "not allowed", "empty", "file too large",
            "outside root", "no address", "unreadable" (a storage fault that retries did not outlast).
    """
    config = config or MediaConfig()
    address = resolve(uri, config.root)
    with as_media_error(uri):
        data = retry(lambda: _read(address, config.max_bytes + 1), address, config.retries)
    if len(data) > config.max_bytes:
        raise MediaError(
            "file too large", f"{display_uri(uri)} has more than {config.max_bytes:,} bytes (--media.max-bytes)"
        )
    if not data:
        raise MediaError("empty", f"{display_uri(uri)} has 0 bytes")
    return data


@contextmanager
def as_media_error(uri: str) -> Iterator[None]:
    """Turn what a file system raises while it reads `uri` into a reason for the row.

    Raises:
        MediaError: kinds "missing", "folder", "not allowed", "unreadable".
    """
    try:
        yield
    except FileNotFoundError:
        raise MediaError("missing", f"no file at {display_uri(uri)}") from None
    except IsADirectoryError:
        raise MediaError("folder", f"{display_uri(uri)} is a folder") from None
    except PermissionError:
        raise MediaError("not allowed", f"no permission to read {display_uri(uri)}") from None
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        # Of the many file systems that an address may name, each raises its own: one row must not end a run.
        raise MediaError("unreadable", f"{display_uri(uri)} ({reason(error)})") from None


def open_file(address: str) -> Any:
    """A file opened for reading, here or at any address that fsspec opens.

    Raises:
        MediaError: kind "not a file"; otherwise what the file system raises, see `as_media_error`.
    """
    if is_remote(address):
        import fsspec

        bound_client(address)
        return fsspec.open(address, "rb").open()
    kind = os.stat(address).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        # A pipe or a device would keep a reader waiting for ever.
        raise MediaError("not a file", f"{display_uri(address)} is a pipe, a socket or a device")
    return open(address, "rb")


def _read(address: str, limit: int) -> bytes:
    with open_file(address) as file:
        return file.read(limit)


def decode_image(data: bytes, config: MediaConfig | None = None, min_side: int | None = None) -> DecodedImage:
    """Decode an image, first frame only, turned upright by its EXIF orientation.

    Transparency is laid on white, 16-bit samples keep their upper 8 bits.

    Args:
        data: the file's bytes.
        config: the limit on declared pixels.
        min_side: a JPEG may be decoded at 1/2, 1/4 or 1/8, as long as its shorter side keeps
            this many pixels; None decodes at full size.

    Raises:
        MediaError: kinds "not an image", "too many pixels", "truncated", "corrupt".
    """
    config = config or MediaConfig()
    Image.MAX_IMAGE_PIXELS = None  # the limit below is checked before a pixel is decoded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            raise MediaError("not an image", f"starts with {data[:8]!r}; {', '.join(FORMATS)} are read") from None
        except _BROKEN as error:
            raise MediaError("corrupt", f"the header cannot be read ({error})") from None
        width, height = image.size
        if width * height > config.max_pixels:
            raise MediaError(
                "too many pixels", f"{width} x {height} declared, {config.max_pixels:,} allowed (--media.max-pixels)"
            )
        try:
            orientation = image.getexif().get(0x0112, 1)
            if min_side is not None and image.format in ("JPEG", "MPO"):
                shrink = min(width, height) / min_side
                if shrink >= 2:
                    image.draft(None, (int(width / shrink), int(height / shrink)))
            upright = ImageOps.exif_transpose(_rgb(image))
        except _BROKEN as error:
            kind = "truncated" if _ends_early(error, data, image.format) else "corrupt"
            raise MediaError(kind, f"{image.format} of {len(data):,} bytes ({error})") from None
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return DecodedImage(np.asarray(upright), width, height)


def read_image(uri: str, config: MediaConfig | None = None, min_side: int | None = None) -> DecodedImage:
    """Read and decode one image; see `read_bytes` and `decode_image` for what is raised."""
    return decode_image(read_bytes(uri, config), config, min_side)


def _ends_early(error: BaseException, data: bytes, kind: str | None) -> bool:
    text = str(error).lower()
    if any(word in text for word in ("truncated", "unexpected end", "not enough", "incomplete")):
        return True
    return kind in ("JPEG", "MPO") and not data.rstrip(b"\0").endswith(b"\xff\xd9")


def _rgb(image: Image.Image) -> Image.Image:
    """First frame as 8-bit RGB; keeps the EXIF entry that says which way is up."""
    exif = image.getexif()
    if image.mode == "F":
        raise ValueError("floating-point samples have no stated range")
    if image.mode.startswith("I"):
        converted = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        converted = Image.new("RGB", rgba.size, (255, 255, 255))
        converted.paste(rgba, mask=rgba.getchannel("A"))
    else:
        converted = image.convert("RGB")
    if 0x0112 in exif:
        converted.getexif()[0x0112] = exif[0x0112]
    return converted
