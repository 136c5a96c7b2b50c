"""A corpus of files that cannot, or can only just, be read as images, made from nothing but code."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def scene(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A smooth colourful image, another for each seed."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises that many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Write the corpus.

    Returns:
        What is wrong → the file, and the kind of reason that must be given.
    """
    good = encoded(scene(), "JPEG", quality=95)
    progressive = encoded(scene(), "JPEG", quality=95, progressive=True)
    png = encoded(scene(), "PNG")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    contents: dict[str, tuple[bytes, str]] = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is a letter to my aunt, not an image\n" * 20, "not an image"),
        "page.png": (b"<!doctype html><html><body>404 not found</body></html>", "not an image"),
        "vector.png": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not an image"),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "not an image"),
        "truncated.jpg": (good[: len(good) // 2], "truncated"),
        "truncated-progressive.jpg": (progressive[: len(progressive) // 3], "truncated"),
        "truncated.png": (png[: len(png) // 2], "truncated"),
        "truncated.gif": (encoded(scene(), "GIF")[:900], "truncated"),
        "truncated.webp": (encoded(scene(), "WEBP")[:600], "corrupt"),
        "flipped.png": (bytes(flipped), "corrupt"),
        "header-only.jpg": (good[:2], "not an image"),
        "bomb.png": (png_that_declares(60_000, 60_000), "too many pixels"),
        "zip.jpg": (b"PK\x03\x04" + bytes(300), "not an image"),
        "float.tif": (encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "corrupt"),
    }
    made = {}
    for name, (data, kind) in contents.items():
        (folder / name).write_bytes(data)
        made[name] = (folder / name, kind)
    made["missing.jpg"] = (folder / "never-written.jpg", "missing")
    (folder / "folder.jpg").mkdir()
    made["folder.jpg"] = (folder / "folder.jpg", "folder")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    made["loop.jpg"] = (folder / "loop.jpg", "unreadable")
    os.mkfifo(folder / "pipe.jpg")
    made["pipe.jpg"] = (folder / "pipe.jpg", "not a file")
    return made


def odd_files(folder: Path) -> dict[str, Path]:
    """Unusual files that are images all the same."""
    image = scene(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    alpha = image.convert("RGBA")
    alpha.putalpha(128)
    contents = {
        "grey.png": encoded(image.convert("L"), "PNG"),
        "sixteen.png": encoded(sixteen, "PNG"),
        "alpha.png": encoded(alpha, "PNG"),
        "palette.png": encoded(image.convert("P"), "PNG"),
        "bilevel.png": encoded(image.convert("1"), "PNG"),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(image, "JPEG", exif=exif),
        "animated.gif": encoded(image, "GIF", save_all=True, append_images=[scene(2), scene(3)]),
        "image.webp": encoded(image, "WEBP"),
        "image.bmp": encoded(image, "BMP"),
        "image.tif": encoded(image, "TIFF"),
        "one-pixel.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "long.png": encoded(image.resize((2000, 3)), "PNG"),
        "no-ending": encoded(image, "JPEG"),
        "a b+c%20d.jpg": encoded(image, "JPEG"),
    }
    made = {}
    for name, data in contents.items():
        made[name] = folder / name
        made[name].write_bytes(data)
    return made
