"""FindingEmo (Mertens et al. 2024): people in social scenes, one rater per image."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from emofuse.affect import AXES
from emofuse.datasets.base import MISSING, Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root
from emofuse.datasets.tables import need, numbers, read_csv
from emofuse.errors import DataError
from emofuse.scales import SCALES

ORIGIN = Origin(
    name="findingemo",
    title="FindingEmo (Mertens et al. 2024)",
    scale=SCALES["findingemo"],
    licence="annotations CC BY-NC-SA 4.0, no commercial use; images belong to their owners",
)
ANNOTATIONS = "data/annotations_single.ann"
_ALONG = ("emotion", "age", "tags", "ambiguity", "user")


def build(root: str) -> Built:
    """FindingEmo: labels from the package findingemo-light, images from a folder.

    Valence -3 to 3, arousal 0 to 6. The images are those that findingemo_light.paper.download_multi fetches
    from the web: Run_1/… and Run_2/… below the folder. Some can no longer be had; they are counted and left out.
    An image's group is the search query that found it. No splits are published.

    Args:
        root: The folder that holds Run_1 and Run_2, or any address that fsspec opens.

    Raises:
        DataError: if the package is not installed, or no image is found.
    """
    import pandas as pd

    place = Root.open(root)
    read = read_csv(_annotations().read_bytes(), ANNOTATIONS)
    need(read, ("image_path", *AXES), ANNOTATIONS)
    rows = pd.DataFrame({"path": read["image_path"], "group": [query_of(path) for path in read["image_path"]]})
    for axis in AXES:
        rows[axis] = numbers(read, axis, ANNOTATIONS)
    for column in _ALONG:
        if column in read:
            rows[column] = read[column]
    report = Report(read=len(rows))
    rows = locate(rows, place, report)
    if missing := report.dropped.get(MISSING):
        report.note(missing, "images are not there, which is normal: the web has lost some since")
    return assemble(rows, ORIGIN, place, report)


def query_of(path: str) -> str:
    """The search query that found an image: its folder. Both runs of one query count as one."""
    return path.strip("/").rsplit("/", 1)[0].split("/", 1)[-1]


def _annotations() -> Path:
    found = importlib.util.find_spec("findingemo_light")
    if found is None or found.origin is None:
        raise DataError("the labels come with a package: pip install findingemo-light (or emofuse[findingemo])")
    return Path(found.origin).parent / ANNOTATIONS
