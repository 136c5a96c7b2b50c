"""Which frames a video holds, found by reading its packets without decoding them.

A frame's index is its rank by the time it is shown. That is a property of the file, so it does
not depend on how the frames are later divided among workers, nor on where a decoder starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from emofuse.config import MediaConfig
from emofuse.errors import ConfigError
from emofuse.io.addresses import display_uri
from emofuse.io.images import MediaError
from emofuse.io.video.container import Opened, open_video, reason


@dataclass(frozen=True)
class VideoIndex:
    """The frames of a video.

    Attributes:
        pts: int64 (N,), the time each is shown in units of `time_base`, increasing; None where the
            container states no such times, and frames are known by their number alone.
        timestamps: float64 (N,), the same in seconds.
        keyframe: bool (N,), where decoding can start.
        time_base: seconds per unit of `pts`.
        broken: how and where the file breaks off; None for one that seems whole.
    """

    pts: np.ndarray | None
    timestamps: np.ndarray
    keyframe: np.ndarray
    time_base: Fraction
    broken: str | None

    def __len__(self) -> int:
        return len(self.timestamps)

    def sample(self, fps: float | None = None, every: int | None = None) -> np.ndarray:
        """Indices of every k-th frame, or of the first frame in each 1/fps seconds, or of all.

        With a variable frame rate, a stretch with fewer frames than `fps` gives those there are.

        Raises:
            ConfigError: if both are given, or one is not positive.
        """
        if fps is not None and every is not None:
            raise ConfigError("give frames per second or every k-th frame, not both")
        if every is not None:
            if every < 1:
                raise ConfigError(f"every k-th frame needs k of at least 1; got {every}")
            return np.arange(0, len(self), every)
        if fps is None or not len(self):
            return np.arange(len(self))
        if not fps > 0:
            raise ConfigError(f"frames per second must be positive; got {fps}")
        # Half a unit of time base: timestamps are rounded to it, so a frame may come that much early.
        slack = float(self.time_base) / 2
        slot = np.floor((self.timestamps - self.timestamps[0] + slack) * fps).astype(np.int64)
        return np.flatnonzero(np.diff(slot, prepend=-1) > 0)


def index_frames(uri: str, config: MediaConfig | None = None) -> VideoIndex:
    """The frames of a video, by its packets.

    Raises:
        MediaError: if it cannot be opened as a video, or kind "no frames" if it holds none.
    """
    with open_video(uri, config or MediaConfig()) as video:
        packets, fault = _packets(video)
        if not packets:
            raise MediaError("no frames", f"{display_uri(uri)} holds no frame" + (f" ({fault})" if fault else ""))
        broken = fault or _cut_short(video, packets)
        if video.timed and all(packet.pts is not None for packet in packets):
            pts, key = _by_show_time(packets, whole=broken is None)
            seconds = pts * float(video.time_base)
        else:
            pts, key = None, np.array([packet.key for packet in packets])
            start = float((video.stream.start_time or 0) * video.time_base)
            seconds = start + np.arange(len(key)) / float(video.rate or 25)
        if not len(seconds):
            raise MediaError("no frames", f"{display_uri(uri)}: {broken} before its second frame")
        if broken:
            broken += f" after frame {len(seconds) - 1:,} at {seconds[-1]:.3f} s"
        return VideoIndex(pts, seconds, key, video.time_base, broken)


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    key: bool


def _packets(video: Opened) -> tuple[list[_Packet], str | None]:
    """The packets that hold frames, in the order of decoding, and why reading them ended early."""
    found: list[_Packet] = []
    try:
        for packet in video.container.demux(video.stream):
            if packet.is_corrupt:
                return found, "it breaks off within a frame"
            if packet.size and not packet.is_discard:
                found.append(_Packet(packet.pts, packet.dts, bool(packet.is_keyframe)))
    except (av.FFmpegError, OSError) as error:
        return found, f"it cannot be read further ({reason(error)})"
    return found, None


def _by_show_time(packets: list[_Packet], *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Distinct show times, increasing, and whether each belongs to a keyframe.

    In a file that breaks off, frames are kept up to the last time of decoding: those shown later may have
    a missing frame before them, and a frame's rank must not depend on what is missing.
    """
    pts = np.array([packet.pts for packet in packets], dtype=np.int64)
    times, first = np.unique(pts, return_index=True)
    key = np.array([packet.key for packet in packets])[first]
    decoded = [packet.dts for packet in packets if packet.dts is not None]
    if whole or not decoded:
        return times, key
    sure = times <= max(decoded)
    return times[sure], key[sure]


def _cut_short(video: Opened, packets: list[_Packet]) -> str | None:
    """Whether the header announces more than there is."""
    stream, container = video.stream, video.container
    if stream.frames > len(packets):
        return f"it breaks off: {stream.frames:,} frames declared, {len(packets):,} there,"
    declared = float(stream.duration * video.time_base) if stream.duration else (container.duration or 0) / av.time_base
    last = max((packet.pts or 0) for packet in packets) - (stream.start_time or 0)
    if stream.frames == 0 and declared > 1 and float(last * video.time_base) < 0.9 * declared - 1:
        return f"it breaks off: {declared:.1f} s declared,"
    return None
