"""From packets to frames: where decoding starts, and which frames of a damaged file are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain

import av
import numpy as np

from emofuse.config import MediaConfig
from emofuse.io.addresses import display_uri
from emofuse.io.images import DecodedImage, MediaError
from emofuse.io.video.container import Opened, quarter_turns, reason

STEPS_BACK = (0.0, 2.0, 10.0, 60.0)
"""Seconds before a frame at which a keyframe is searched, in turn; after these, decoding begins with the file."""

Keyed = tuple[int, av.VideoFrame | None]
"""A frame's key, its show time or (where there is none) its number, and the frame; None in place of a damaged one."""


def keyed_frames(fresh: Callable[[], Opened], first: int, *, ordinal: bool) -> Iterator[Keyed]:
    """Frames in the order they are shown, from a keyframe at or before the key `first`.

    After damage nothing is read until the next keyframe: what refers to a damaged frame may decode
    without complaint and show something else. So a frame reads the same wherever decoding began.

    Args:
        fresh: gives the video newly opened at each call.
        first: the key that is wanted first.
        ordinal: keys are numbers of frames, counted from the start of the file.
    """
    for packets, last in _entries(fresh, None if ordinal else first):
        frames = _frames(packets, ordinal=ordinal)
        head = next(frames, None)
        # A stream without full keyframes shows nothing until it has been refreshed, which may be too late.
        if last or (head is not None and head[0] <= first):
            if head is not None:
                yield head
                yield from frames
            return


def _frames(packets: Iterator[av.Packet], *, ordinal: bool) -> Iterator[Keyed]:
    skipping, count = False, 0
    for packet in packets:
        if skipping and not packet.is_keyframe:
            count += 1
            continue
        frames, skipping = _decoded(packet)
        for frame in frames:
            key = count if ordinal else frame.pts
            count += 1
            if key is not None:
                yield key, None if frame.is_corrupt else frame
        count += skipping


def to_image(frame: av.VideoFrame, uri: str, config: MediaConfig) -> DecodedImage | MediaError:
    """A decoded frame as an upright 8-bit RGB image, whatever its pixel format and size.

    Frames may change their size within a video, so each is held against the limit by itself.
    """
    if frame.width * frame.height > config.max_pixels:
        size = f"a frame of {frame.width} x {frame.height} in {display_uri(uri)}"
        return MediaError("too many pixels", f"{size}, {config.max_pixels:,} allowed (--media.max-pixels)")
    try:
        rgb = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError) as error:
        return MediaError("damaged", f"a frame of {display_uri(uri)} cannot be converted to RGB ({reason(error)})")
    upright = np.ascontiguousarray(np.rot90(rgb, quarter_turns(frame)))
    return DecodedImage(upright, upright.shape[1], upright.shape[0])


def _decoded(packet: av.Packet) -> tuple[list[av.VideoFrame], bool]:
    """The frames that a packet brings out, and whether it is damaged.

    A damaged packet empties the decoder: the frames before it that were still to come are sound, and
    would otherwise come out among later ones.
    """
    codec = packet.stream.codec_context
    frames: list[av.VideoFrame] = []
    if not packet.is_corrupt:
        try:
            frames = list(packet.decode())
        except av.FFmpegError:
            frames = []
        else:
            if not any(frame.is_corrupt for frame in frames):
                return frames, False
    with suppress(av.FFmpegError):
        frames += codec.decode(None)
    codec.flush_buffers()
    return frames, True


def _entries(fresh: Callable[[], Opened], first: int | None) -> Iterator[tuple[Iterator[av.Packet], bool]]:
    """Packets from keyframes that are shown at or before `first`, the nearest one first; and whether it is the last.

    A keyframe shown after `first` will not do, even if it is decoded before it: the frames between
    the two refer to what came before the keyframe. The last entry is the beginning of the file.
    """
    video = fresh()
    start = video.stream.start_time or 0
    if first is not None and first > start:
        for back in STEPS_BACK:
            packets = _entered(video, max(start, first - round(back / video.time_base)))
            entry = next((p for p in packets if p.is_keyframe and p.pts is not None), None)
            if entry is not None and entry.pts is not None and entry.pts <= first:
                yield chain([entry], packets), False
        video = fresh()  # leaping to the start is not the same: some demuxers then miss the first packet
    yield _sound(video.container.demux(video.stream)), True


def _entered(video: Opened, target: int) -> Iterator[av.Packet]:
    """Packets after a leap to a show time; none where the file cannot be entered there."""
    try:
        video.container.seek(target, stream=video.stream, backward=True)
    except (av.FFmpegError, OSError, OverflowError):
        return iter(())
    return _sound(video.container.demux(video.stream))


def _sound(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Packets for as long as the file can be read."""
    try:
        yield from packets
    except (av.FFmpegError, OSError):
        return
