"""Aff-Wild2 (Kollias & Zafeiriou 2019), the valence-arousal task of the ABAW competitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble
from emofuse.datasets.frames import check_sampling, label_frames, video_frames
from emofuse.datasets.root import Root, is_image, is_video
from emofuse.datasets.tables import need, numbers, read_csv
from emofuse.errors import ConfigError, DataError
from emofuse.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = Origin(
    name="affwild2",
    title="Aff-Wild2 (Kollias & Zafeiriou 2019)",
    scale=SCALES["affwild2"],
    licence="non-commercial research only, on request from the authors",
    sentinels="-5 on either axis is an unlabelled frame: kept without a label",
)
UNLABELLED = -5.0
NO_VIDEO = "annotated video missing"
NO_FRAME = "frame without a cropped image"
TWO_PERSONS = "annotation of one of two persons in a video (--frames cropped separates them)"
# The test set's labels are not public: the validation set is what papers report on.
_SETS = {"train_set": "train", "validation_set": "test"}
_SIDES = ("_left", "_right")


def build(
    root: str,
    *,
    frames: Literal["videos", "cropped"] = "videos",
    fps: float | None = None,
    every: int | None = None,
    crop_fps: float = 30.0,
) -> Built:
    """Aff-Wild2 / ABAW: videos with a rating for each frame, -1 to 1; -5 marks an unlabelled frame.

    Reads Train_Set/*.txt and Validation_Set/*.txt of VA_Estimation_Challenge (a header, then `valence,arousal`
    for each frame) at any depth, and the videos, or the cropped faces in cropped_aligned/NAME/00001.jpg …
    Unlabelled frames stay, without a label, since a sequence needs them; they are counted. The test set's labels
    are not public, so the validation set, on which papers report, becomes test; --split makes a part of
    train valid.

    Args:
        root: The folder with annotations and videos, or any address that fsspec opens.
        frames: Whole frames of the videos, or the published crops (which hold nothing but a face).
        fps: Take the first frame in each 1/fps seconds; by default every frame.
        every: Take every k-th frame instead.
        crop_fps: Frames per second of the cropped images, which do not state their times.

    Raises:
        ConfigError: for a sampling that makes no sense, or fps with crops, which have no times.
        DataError: if there are no annotations, or nothing that they belong to, or a rating is off the scale.
    """
    import pandas as pd

    check_sampling(fps, every)
    if frames == "cropped" and (fps is not None or not crop_fps > 0):
        raise ConfigError("cropped images carry no times: use --every, not --fps, and a --crop-fps above 0")
    place = Root.open(root)
    annotated = _annotations(place)
    report = Report()
    if frames == "cropped":
        crops = _crops(place)
        tables = [
            _cropped(crops.get(name, {}), name, labels, report, every or 1, crop_fps)
            for name, (_, labels) in annotated.items()
        ]
    else:
        tables = _whole(place, annotated, report, fps, every)
    tables = [table for table in tables if len(table)]
    if not tables:
        raise DataError(f"none of {len(annotated)} annotated videos of Aff-Wild2 is below {root}: {report.explain()}")
    rows = pd.concat(tables, ignore_index=True)
    report.read += len(rows)
    rows["split"] = [annotated[name][0] for name in rows["sequence"]]
    rows["group"] = [_video(name) for name in rows["sequence"]]
    return assemble(rows, ORIGIN, place, report)


def _annotations(root: Root) -> dict[str, tuple[str, np.ndarray]]:
    """By name: the split, and the labels (frames, 2), NaN where a frame is marked unlabelled."""
    found = {}
    for path in root.sizes:
        folder, _, file = path.rpartition("/")
        split = _SETS.get(folder.rpartition("/")[2].lower())
        other_task = any(part.startswith(("expr", "au_")) for part in folder.lower().split("/"))
        if split and file.endswith(".txt") and not other_task:
            read = read_csv(root.read_bytes(path), path)
            need(read, AXES, path)
            labels = np.column_stack([numbers(read, axis, path) for axis in AXES])
            labels[(labels == UNLABELLED).any(axis=1)] = np.nan
            found[file.removesuffix(".txt")] = (split, labels)
    if not found:
        raise DataError(f"no annotations of Aff-Wild2 below {root.address}: looked for Train_Set/*.txt …")
    return found


def _video(name: str) -> str:
    return next((name.removesuffix(side) for side in _SIDES if name.endswith(side)), name)


def _whole(
    root: Root, annotated: dict[str, tuple[str, np.ndarray]], report: Report, fps: float | None, every: int | None
) -> list[pd.DataFrame]:
    import pandas as pd

    videos = {path.rpartition("/")[2].rpartition(".")[0]: path for path in root.sizes if is_video(path)}
    names = pd.DataFrame({"path": list(annotated)})
    report.read += len(names)
    names = report.drop(names, [_video(name) != name for name in names["path"]], TWO_PERSONS)
    names = report.drop(names, [name not in videos for name in names["path"]], NO_VIDEO)
    report.read -= len(names)  # from here on frames are counted, not videos
    by_path = {videos[name]: name for name in names["path"]}
    tables = video_frames(root, list(by_path), report, fps, every)
    return [
        label_frames(rows, annotated[by_path[path]][1]).assign(sequence=by_path[path]) for path, rows in tables.items()
    ]


def _crops(root: Root) -> dict[str, dict[int, str]]:
    """By name of the annotation: the image of each frame; 00001.jpg is the first."""
    found: dict[str, dict[int, str]] = {}
    for path in root.sizes:
        folder, _, file = path.rpartition("/")
        number = file.rpartition(".")[0]
        if is_image(path) and number.isdecimal():
            found.setdefault(folder.rpartition("/")[2], {})[int(number) - 1] = path
    return found


def _cropped(
    there: dict[int, str], name: str, labels: np.ndarray, report: Report, every: int, fps: float
) -> pd.DataFrame:
    import pandas as pd

    rows = pd.DataFrame({"path": name, "frame_index": np.arange(0, len(labels), every), "sequence": name})
    missing = [frame not in there for frame in rows["frame_index"]]
    report.read += sum(missing)
    rows = label_frames(report.drop(rows, missing, NO_FRAME), labels)
    # Images of their own have no index in a video; their times put them in order.
    rows = rows.rename(columns={"frame_index": "frame"})
    return rows.assign(path=[there[frame] for frame in rows["frame"]], timestamp=rows["frame"] / fps)
