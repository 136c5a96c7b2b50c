"""Hostile images and videos."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from broken import encoded, png_that_declares, scene

from attacks.common import attack, memory, refused
from emofuse.config import MediaConfig
from emofuse.io.images import read_bytes, read_image


@attack("a PNG of 100 bytes that declares 60,000 x 60,000 pixels")
def bomb_by_header(folder: Path) -> str:
    (folder / "a.png").write_bytes(png_that_declares(60_000, 60_000))
    return refused(lambda: read_image(str(folder / "a.png")), kind="too many pixels")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@attack("a small PNG with a text chunk that inflates to 400 MB")
def bomb_by_text(folder: Path) -> str:
    whole = encoded(scene(), "PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(400_000_000), 9)
    (folder / "a.png").write_bytes(whole[:33] + _chunk(b"zTXt", text) + whole[33:])
    before = memory()
    line = refused(lambda: read_image(str(folder / "a.png")), kind="corrupt")
    assert memory() - before < 200, "it was inflated"
    return line


@attack("a small PNG with a colour profile that inflates to 400 MB")
def bomb_by_profile(folder: Path) -> str:
    whole = encoded(scene(), "PNG")
    profile = b"icc\0\0" + zlib.compress(bytes(400_000_000), 9)
    (folder / "a.png").write_bytes(whole[:33] + _chunk(b"iCCP", profile) + whole[33:])
    before = memory()
    line = refused(lambda: read_image(str(folder / "a.png")), kind="corrupt")
    assert memory() - before < 200, "it was inflated"
    return line


@attack("a PNG whose pixel data inflates to 400 MB more than declared")
def bomb_by_pixels(folder: Path) -> str:
    header = struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)
    data = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(400_000_000), 9)) + _chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    before = memory()
    image = read_image(str(folder / "a.png"))
    assert memory() - before < 200, "it was inflated"
    return f"read as {image.width} x {image.height}; no more was inflated than that takes"


@attack("a GIF of 2,000 frames")
def many_frames(folder: Path) -> str:
    frames = [scene(i % 3, (16, 16)).convert("P") for i in range(2000)]
    (folder / "a.gif").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    image = read_image(str(folder / "a.gif"))
    return f"its first frame alone was read, {image.rgb.shape}"


@attack("a TIFF whose directory points back to itself")
def endless_tiff(folder: Path) -> str:
    (folder / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8))
    return refused(lambda: read_image(str(folder / "a.tif")))


@attack("PostScript called photo.jpg, which would start an interpreter")
def postscript(folder: Path) -> str:
    (folder / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file\n")
    return refused(lambda: read_image(str(folder / "photo.jpg")), kind="not an image")


@attack("an SVG with an external entity, called photo.png")
def svg(folder: Path) -> str:
    text = '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>'
    (folder / "photo.png").write_text(text)
    return refused(lambda: read_image(str(folder / "photo.png")), kind="not an image")


@attack("/dev/zero as an image")
def device(folder: Path) -> str:
    return refused(lambda: read_image("/dev/zero"), kind="not a file")


@attack("a named pipe as an image, and as a video")
def pipe(folder: Path) -> str:
    from emofuse.io.video.container import open_video

    os.mkfifo(folder / "a.jpg")

    def video() -> None:
        with open_video(str(folder / "a.jpg"), MediaConfig()):
            pass

    refused(video, kind="not a file")
    return refused(lambda: read_image(str(folder / "a.jpg")), kind="not a file")


@attack("an image larger than the limit on bytes, sparse on disk")
def large_file(folder: Path) -> str:
    with open(folder / "a.jpg", "wb") as file:
        file.truncate(50_000_000_000)
    before = memory()
    line = refused(lambda: read_bytes(str(folder / "a.jpg"), MediaConfig(max_bytes=1_000_000)), kind="file too large")
    assert memory() - before < 100
    return line


@attack("a playlist called film.mp4 that names /etc/passwd")
def playlist(folder: Path) -> str:
    from emofuse.io.video.container import open_video

    def opened(text: str) -> Callable[[], None]:
        def action() -> None:
            (folder / "film.mp4").write_text(text)
            with open_video(str(folder / "film.mp4"), MediaConfig()):
                pass

        return action

    refused(opened("ffconcat version 1.0\nfile /etc/passwd\n"), kind="not a video")
    return refused(opened("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"), kind="not a video")
