"""Videos as frames: what they hold (`index_frames`), and their images in order (`read_frames`, `VideoReader`)."""

from emofuse.io.video.container import VideoInfo, probe
from emofuse.io.video.index import VideoIndex, enumerate_frames, index_frames, segments
from emofuse.io.video.reader import Frame, VideoReader, frames_of, read_frames

__all__ = [
    "Frame",
    "VideoIndex",
    "VideoInfo",
    "VideoReader",
    "enumerate_frames",
    "frames_of",
    "index_frames",
    "probe",
    "read_frames",
    "segments",
]
