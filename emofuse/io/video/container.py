"""Opening a video: from any address, without letting libav reach for anything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from emofuse.config import MediaConfig
from emofuse.io.addresses import display_uri
from emofuse.io.images import MediaError, as_media_error, open_file, resolve
from emofuse.io.retry import retry

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,mxf,nut,ivf,h264,hevc,m4v,rm,dv,wtv,yuv4mpegpipe"
)
"""Containers that hold their own images; playlists, which name other files, and still images are none of them."""

UNTIMED = ("h264", "hevc", "m4v", "mpegvideo", "mpeg")
"""Bare streams, which state no times, and MPEG program streams, which state only some."""


@dataclass(frozen=True)
class Opened:
    """An open container and the one stream of it that is read."""

    container: InputContainer
    stream: VideoStream

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of a timestamp."""
        return self.stream.time_base or Fraction(1, 1000)

    @property
    def rate(self) -> Fraction | None:
        """Mean frames per second as declared or guessed."""
        return self.stream.average_rate or self.stream.guessed_rate or None

    @property
    def timed(self) -> bool:
        """Whether packets carry the times at which their frames are shown.

        AVI has no room for them, so where frames are coded out of order libav can only guess.
        """
        name = self.container.format.name
        return name not in UNTIMED and not (name == "avi" and self.stream.codec_context.has_b_frames)


@contextmanager
def open_video(uri: str, config: MediaConfig) -> Iterator[Opened]:
    """Open a video for the time of a `with`.

    Decoding takes one thread: tasks are the unit of parallel work, and an error then belongs to its own packet.

    Raises:
        MediaError: kinds "missing", "folder", "not allowed", "empty", "unreadable", "outside root",
            "no address", "not a video", "too many pixels".
    """
    file = _open_file(uri, resolve(uri, config.root), config.retries)
    try:
        try:
            container = av.open(file, options={"format_whitelist": FORMATS})
        except av.EOFError:
            raise MediaError("no frames", f"{display_uri(uri)} ends before its first frame") from None
        except (av.FFmpegError, ValueError) as error:
            raise MediaError("not a video", f"{display_uri(uri)} ({reason(error)})") from None
        with container:
            stream = _moving_images(container, uri)
            pixels = stream.codec_context.width * stream.codec_context.height
            if pixels > config.max_pixels:
                allowed = f"{config.max_pixels:,} allowed (--media.max-pixels)"
                raise MediaError("too many pixels", f"frames of {pixels:,} declared in {display_uri(uri)}, {allowed}")
            stream.codec_context.thread_count = 1
            yield Opened(container, stream)
    finally:
        file.close()


def quarter_turns(frame: av.VideoFrame) -> int:
    """Counter-clockwise quarter turns that make a decoded frame stand upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def reason(error: Exception) -> str:
    """libav's own words for an error, without the call it came from."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())


def _moving_images(container: InputContainer, uri: str) -> VideoStream:
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition).lower():
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing at all"
    raise MediaError("not a video", f"{display_uri(uri)} has no video stream; it holds {kinds}")


def _open_file(uri: str, address: str, retries: int) -> Any:
    def opened() -> tuple[Any, bytes]:
        file = open_file(address)
        return file, file.read(1)

    with as_media_error(uri):
        file, first = retry(opened, address, retries)
    if not first:
        file.close()
        raise MediaError("empty", f"{display_uri(uri)} has 0 bytes")
    file.seek(0)
    return file
