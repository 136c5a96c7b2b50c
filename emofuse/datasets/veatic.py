"""VEATIC (Ren et al. 2024): film clips with people in context, rated frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble
from emofuse.datasets.frames import check_sampling, label_frames, video_frames
from emofuse.datasets.root import Root, is_video
from emofuse.datasets.tables import numbers, read_csv
from emofuse.errors import DataError
from emofuse.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = Origin(
    name="veatic",
    title="VEATIC (Ren, Ortega, Wang, Chen, Guo, Yu & Whitney 2024)",
    scale=SCALES["veatic"],
    licence="research only, as its authors state; clips belong to their owners",
)
NO_VIDEO = "rated video missing"
_RATINGS = "rating_averaged"


def build(root: str, *, fps: float | None = None, every: int | None = None) -> Built:
    """VEATIC: 124 clips with a rating for each frame, -1 to 1, averaged over raters.

    Reads the videos N.mp4 and rating_averaged/: N_valence.csv and N_arousal.csv (two columns without a header, of
    which the second is the rating), or N.csv (two columns without a header: valence, arousal). The published
    split cuts every clip in two, first 70 % for training; both halves show the same scene, so it is not
    taken over.

    Args:
        root: The folder that holds rating_averaged and the videos, or any address that fsspec opens.
        fps: Take the first frame in each 1/fps seconds; by default every frame.
        every: Take every k-th frame instead.

    Raises:
        ConfigError: for a sampling that makes no sense.
        DataError: if there are no ratings, no videos, or a rating is off the scale.
    """
    import pandas as pd

    check_sampling(fps, every)
    place = Root.open(root)
    ratings = _ratings(place)
    videos = {path.rpartition("/")[2].rpartition(".")[0]: path for path in place.sizes if is_video(path)}
    report = Report()
    names = pd.DataFrame({"path": list(ratings)})
    missing = [name not in videos for name in names["path"]]
    report.read += sum(missing)
    names = report.drop(names, missing, NO_VIDEO)
    by_path = {videos[name]: name for name in names["path"]}
    tables = video_frames(place, list(by_path), report, fps, every)
    if not tables:
        raise DataError(f"none of {len(ratings)} rated videos of VEATIC is below {root}: {report.explain()}")
    parts = [label_frames(rows, ratings[by_path[path]]).assign(sequence=by_path[path]) for path, rows in tables.items()]
    rows = pd.concat(parts, ignore_index=True)
    report.read += len(rows)
    return assemble(rows.assign(group=rows["sequence"]), ORIGIN, place, report)


def _ratings(root: Root) -> dict[str, np.ndarray]:
    """By clip: valence and arousal (frames, 2)."""
    files = [path for path in root.sizes if path.endswith(".csv") and _RATINGS in path.split("/")[:-1]]
    if not files:
        raise DataError(f"no ratings of VEATIC below {root.address}: looked for {_RATINGS}/*.csv")
    single: dict[str, dict[str, np.ndarray]] = {}
    found: dict[str, np.ndarray] = {}
    for path in files:
        stem = path.rpartition("/")[2].removesuffix(".csv")
        name, _, axis = stem.rpartition("_")
        if axis in AXES:
            single.setdefault(name, {})[axis] = _columns(root, path)[:, -1]
        else:
            found[stem] = _columns(root, path, least=2)[:, :2]
    for name, axes in single.items():
        absent = [axis for axis in AXES if axis not in axes]
        if absent:
            raise DataError(f"{root.address} lacks {_RATINGS}/{name}_{absent[0]}.csv")
        frames = min(map(len, axes.values()))
        found[name] = np.column_stack([axes[axis][:frames] for axis in AXES])
    return found


def _columns(root: Root, path: str, least: int = 1) -> np.ndarray:
    """A table of numbers without a header, (rows, columns)."""
    read: pd.DataFrame = read_csv(root.read_bytes(path), path, header=None)
    if read.shape[1] < least:
        raise DataError(f"{path} must have {least} columns; it has {read.shape[1]}")
    return np.column_stack([numbers(read, column, path) for column in read.columns])
