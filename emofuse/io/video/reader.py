"""The frames of a video in order, by their indices."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emofuse.config import MediaConfig
from emofuse.io.addresses import display_uri
from emofuse.io.images import DecodedImage, MediaError
from emofuse.io.video.container import Opened, open_video
from emofuse.io.video.decode import Keyed, keyed_frames, to_image
from emofuse.io.video.index import VideoIndex, index_frames

AHEAD = 10.0
"""Seconds that are decoded through rather than leapt over, when a reader continues in the same video."""

Found = tuple[int, DecodedImage | MediaError]


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        frame_index: its rank by the time it is shown.
        timestamp: that time, seconds.
        rgb: uint8, (H, W, 3), upright.
    """

    frame_index: int
    timestamp: float
    rgb: np.ndarray


@dataclass(frozen=True)
class _Wanted:
    """Frames to read: `keys[i]` leads to `indices[i]`; indices beyond the keys are not in the video."""

    indices: list[int]
    keys: list[int]
    ordinal: bool
    beyond: str


class _Cursor:
    """An open video and the place in it."""

    def __init__(self, uri: str, config: MediaConfig) -> None:
        self.uri, self._config, self._stack = uri, config, ExitStack()
        self.video: Opened = self._stack.enter_context(open_video(uri, config))
        self._untouched = True
        self._frames: Iterator[Keyed] = iter(())
        self._next: Keyed | None = None

    def close(self) -> None:
        self._stack.close()

    def images(self, wanted: _Wanted) -> Iterator[DecodedImage | MediaError]:
        """An image or an error for each key, in order."""
        if wanted.keys:
            self._go_to(wanted.keys[0], wanted.ordinal)
        for key in wanted.keys:
            while self._next is not None and self._next[0] < key:
                self._step()
            frame = self._next[1] if self._next is not None and self._next[0] == key else None
            yield self._absent(key, wanted) if frame is None else to_image(frame, self.uri, self._config)

    def _go_to(self, key: int, ordinal: bool) -> None:
        near = key if ordinal else round(AHEAD / self.video.time_base)
        if self._next is not None and self._next[0] <= key <= self._next[0] + near:
            return
        self._frames = keyed_frames(self._fresh, key, ordinal=ordinal)
        self._step()

    def _fresh(self) -> Opened:
        if not self._untouched:
            self._stack.close()
            self.video = self._stack.enter_context(open_video(self.uri, self._config))
        self._untouched = False
        return self.video

    def _step(self) -> None:
        self._next = next(self._frames, None)

    def _absent(self, key: int, wanted: _Wanted) -> MediaError:
        index = wanted.indices[wanted.keys.index(key)]
        place = f"frame {index}" if wanted.ordinal else f"frame {index} at {float(key * self.video.time_base):.3f} s"
        kind = "breaks off" if self._next is None else "damaged"
        return MediaError(kind, f"{display_uri(self.uri)}: no {place} can be decoded")


class VideoReader:
    """Reads runs of frames and keeps its place between them, so that runs in order decode each frame once.

    One video is open at a time. Use it as a context manager, or `close` it.
    """

    def __init__(self, config: MediaConfig | None = None) -> None:
        self._config = config or MediaConfig()
        self._cursor: _Cursor | None = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if one is open."""
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = None

    def read(
        self,
        uri: str,
        indices: Sequence[int],
        timestamps: Sequence[float] | None = None,
        index: VideoIndex | None = None,
    ) -> Iterator[Found]:
        """The images of some frames of one video, each exactly once and in order, or why there is none.

        With the frames' timestamps, as `index_frames` gave them, the file is entered at the
        keyframe before the first; without them its packets are read first to find out where they are.

        Args:
            uri: the video.
            indices: frame indices, increasing.
            timestamps: seconds, one for each index.
            index: of `index_frames`, where the caller has it.

        Raises:
            ValueError: if the indices do not increase, or the timestamps are not one for each.
        """
        numbers = [int(i) for i in indices]
        if any(after <= before for before, after in pairwise([-1, *numbers])):
            raise ValueError(f"frame indices must increase, and none be negative; got {numbers[:8]}")
        if timestamps is not None and len(timestamps) != len(numbers):
            raise ValueError(f"{len(numbers)} indices need as many timestamps; got {len(timestamps)}")
        done = 0
        try:
            for found in self._read(uri, numbers, timestamps, index) if numbers else ():
                done += 1
                yield found
        except MediaError as error:
            self.close()
            yield from ((i, error) for i in numbers[done:])

    def _read(
        self, uri: str, indices: list[int], timestamps: Sequence[float] | None, index: VideoIndex | None
    ) -> Iterator[Found]:
        cursor = self._at(uri)
        wanted = _wanted(cursor.video, uri, indices, timestamps, index, self._config)
        yield from zip(indices[: len(wanted.keys)], cursor.images(wanted), strict=True)
        for i in indices[len(wanted.keys) :]:
            yield i, MediaError("breaks off", f"{display_uri(uri)}: no frame {i}; {wanted.beyond}")

    def _at(self, uri: str) -> _Cursor:
        if self._cursor is None or self._cursor.uri != uri:
            self.close()
            self._cursor = _Cursor(uri, self._config)
        return self._cursor


def read_frames(
    uri: str,
    start: int = 0,
    stop: int | None = None,
    *,
    fps: float | None = None,
    every: int | None = None,
    config: MediaConfig | None = None,
) -> Iterator[Frame]:
    """The frames start … stop - 1 of a video, or those of them that `VideoIndex.sample` chooses, in order.

    What is sampled depends on the whole video, never on the segment.

    Raises:
        MediaError: if it cannot be opened; and, after all frames that can be read, kind "breaks off"
            or "damaged" with the place of the first that cannot.
        ConfigError: as `VideoIndex.sample`.
    """
    config = config or MediaConfig()
    index = index_frames(uri, config)
    end = len(index) if stop is None else stop
    chosen = [int(i) for i in index.sample(fps, every) if start <= i < end]
    fault: MediaError | None = None
    with VideoReader(config) as reader:
        for i, found in reader.read(uri, chosen, index=index):
            if isinstance(found, DecodedImage):
                yield Frame(i, float(index.timestamps[i]), found.rgb)
            else:
                fault = fault or found
    if fault is not None:
        raise fault
    if index.broken and end >= len(index):
        raise MediaError("breaks off", f"{display_uri(uri)}: {index.broken}")


def _wanted(
    video: Opened,
    uri: str,
    indices: list[int],
    timestamps: Sequence[float] | None,
    index: VideoIndex | None,
    config: MediaConfig,
) -> _Wanted:
    if timestamps is not None and video.timed and np.isfinite(timestamps).all():
        keys = [round(float(t) / float(video.time_base)) for t in timestamps]
        return _Wanted(indices, keys, False, "")
    index = index or index_frames(uri, config)
    inside = indices[: bisect.bisect_left(indices, len(index))]
    keys = inside if index.pts is None else [int(index.pts[i]) for i in inside]
    return _Wanted(indices, keys, index.pts is None, index.broken or f"it has {len(index):,}")
