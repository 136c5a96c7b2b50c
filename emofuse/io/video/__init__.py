"""Videos as frames: what they hold (`index_frames`), and their images in order (`read_frames`, `VideoReader`)."""

from emofuse.io.video.index import VideoIndex, index_frames
from emofuse.io.video.reader import Frame, VideoReader, read_frames

__all__ = ["Frame", "VideoIndex", "VideoReader", "index_frames", "read_frames"]
