"""OASIS, the Open Affective Standardized Image Set (Kurdi, Lozano & Banaji 2017)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root
from emofuse.datasets.tables import need, numbers, read_csv
from emofuse.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = Origin(
    name="oasis",
    title="OASIS (Kurdi, Lozano & Banaji 2017)",
    scale=SCALES["oasis"],
    licence="free for research use; images under their own terms (Pixabay, Flickr, Wikimedia, …)",
)
_TABLES = ("OASIS.csv", "oasis.csv")
_FOLDERS = ("images", "Images", "")


def build(root: str) -> Built:
    """OASIS: 900 photographs with the mean and SD of about 100 raters, 1 to 7.

    Reads OASIS.csv as published, with the images in Images/, and its other form, oasis.csv with the
    columns theme, group, file and the images in images/. An image's group is its theme without the
    number ("Cat 3" belongs to "Cat"): images of a group look alike. No splits are
    published. The category (Animal, Object, Person, Scene) goes along.

    Args:
        root: The folder with the table and the images, or any address that fsspec opens.

    Raises:
        DataError: if the table or its columns are missing, or no image is found.
    """
    place = Root.open(root)
    name = place.one_of("OASIS table", *_TABLES)
    rows = _rows(read_csv(place.read_bytes(name), name), name, place)
    report = Report(read=len(rows))
    return assemble(locate(rows, place, report), ORIGIN, place, report)


def _rows(read: pd.DataFrame, name: str, root: Root) -> pd.DataFrame:
    import pandas as pd

    read = read.rename(columns=lambda column: column.lower())
    need(read, ("theme", "category", *(f"{axis}_{what}" for axis in AXES for what in ("mean", "sd"))), name)
    theme = read["theme"].str.strip()
    rows = pd.DataFrame({"theme": theme, "category": read["category"].str.strip()})
    rows["group"] = [re.sub(r"\s*\d+$", "", one) for one in theme]
    files = read["file"].str.strip() if "file" in read else theme + ".jpg"
    rows["path"] = [_place(root, file) for file in files]
    for axis in AXES:
        rows[axis] = numbers(read, f"{axis}_mean", name)
        rows[f"{axis}_std"] = numbers(read, f"{axis}_sd", name)
        if f"{axis}_n" in read:
            rows[f"{axis}_n"] = pd.array(numbers(read, f"{axis}_n", name), dtype="Int32")
    return rows


def _place(root: Root, file: str) -> str:
    """The image's path in whichever folder of the published forms it lies."""
    paths = [f"{folder}/{file}".lstrip("/") for folder in _FOLDERS]
    return next((path for path in paths if path in root.sizes), paths[0])
