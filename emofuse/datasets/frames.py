"""Videos as rows of frames, and the labels of frames."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from emofuse.affect import AXES
from emofuse.datasets.base import Report
from emofuse.datasets.root import Root
from emofuse.errors import ConfigError
from emofuse.io.images import MediaError
from emofuse.io.video import VideoIndex, index_frames

if TYPE_CHECKING:
    import pandas as pd

UNREADABLE = "video that cannot be read"


def check_sampling(fps: float | None, every: int | None) -> None:
    """Refuse a sampling that no video could be given.

    Raises:
        ConfigError: if both are given, or one is not positive.
    """
    if fps is not None and every is not None:
        raise ConfigError("give frames per second or every k-th frame, not both")
    if fps is not None and not fps > 0:
        raise ConfigError(f"frames per second must be positive; got {fps}")
    if every is not None and every < 1:
        raise ConfigError(f"every k-th frame needs k of at least 1; got {every}")


def video_frames(
    root: Root, paths: Sequence[str], report: Report, fps: float | None, every: int | None
) -> dict[str, pd.DataFrame]:
    """The frames of each video: `path`, `frame_index`, `timestamp` in seconds.

    A video that cannot be opened is counted as dropped, with libav's reason; one that breaks off keeps the
    frames before, and a note says where.

    Raises:
        ConfigError: for a sampling that makes no sense.
    """
    import pandas as pd

    check_sampling(fps, every)
    out = {}
    with ThreadPoolExecutor(4) as pool:
        for path, index in zip(paths, pool.map(lambda one: _index(root.uri(one)), paths), strict=True):
            if isinstance(index, MediaError):
                report.read += 1
                report.drop(pd.DataFrame({"path": [path]}), [True], f"{UNREADABLE}: {index.kind}")
                continue
            if index.broken:
                report.notes.append(f"{path}: {index.broken}; the frames before are kept")
            chosen = index.sample(fps, every)
            out[path] = pd.DataFrame({"path": path, "frame_index": chosen, "timestamp": index.timestamps[chosen]})
    return out


def label_frames(rows: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """`rows` with the labels of their frames.

    Args:
        rows: with `frame_index`.
        labels: (frames, 2) in source units, NaN for none; frames beyond them have none.
    """
    frame = rows["frame_index"].to_numpy()
    inside = frame < len(labels)
    values = np.full((len(rows), 2), np.nan)
    values[inside] = labels[frame[inside]]
    return rows.assign(**{axis: values[:, i] for i, axis in enumerate(AXES)})


def _index(uri: str) -> VideoIndex | MediaError:
    try:
        return index_frames(uri)
    except MediaError as error:
        return error
