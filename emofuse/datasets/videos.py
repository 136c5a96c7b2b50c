"""A folder of videos without labels."""

from __future__ import annotations

from emofuse.datasets.base import Built, Origin, Report, assemble
from emofuse.datasets.frames import video_frames
from emofuse.datasets.root import Root, is_video
from emofuse.errors import DataError

ORIGIN = Origin("videos", "A folder of videos", None, "not stated")
OTHER = "not named like a video"


def build(root: str, *, fps: float | None = None, every: int | None = None) -> Built:
    """Every video below a folder, frame by frame; no labels, no splits.

    A frame's row holds its index and its true time. Each video is one sequence and one group. A video that
    breaks off keeps the frames before.

    Args:
        root: The folder, or any address that fsspec opens.
        fps: Take the first frame in each 1/fps seconds; by default every frame.
        every: Take every k-th frame instead.

    Raises:
        ConfigError: for a sampling that makes no sense.
        DataError: if there is no such folder, or no video in it that can be read.
    """
    import pandas as pd

    place = Root.open(root)
    listed = pd.DataFrame({"path": list(place.sizes)}, dtype=object)
    report = Report()
    named = [is_video(path) for path in listed["path"]]
    report.read += len(named) - sum(named)
    paths = list(report.drop(listed, [not one for one in named], OTHER)["path"])
    tables = video_frames(place, paths, report, fps, every)
    if not tables:
        raise DataError(f"no video below {root}: {report.explain()}")
    rows = pd.concat(tables.values(), ignore_index=True)
    report.read += len(rows)
    rows["group"] = rows["sequence"] = rows["path"]
    return assemble(rows, ORIGIN, place, report)
