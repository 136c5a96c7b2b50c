"""Your own table of images and ratings: `image_path,valence,arousal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root
from emofuse.datasets.tables import need, numbers, read_csv, split_names, typed, words
from emofuse.errors import DataError
from emofuse.scales import scale as scale_of

if TYPE_CHECKING:
    import pandas as pd

EMPTY = "an empty cell, nan, na, none or null is no rating: kept without a label"
_SPLIT_FILES = {"train": ("train.csv",), "valid": ("valid.csv", "val.csv"), "test": ("test.csv",)}
_OPTIONAL_NUMBERS = ("valence_std", "arousal_std", "valence_n", "arousal_n")
_OPTIONAL_WORDS = ("group", "split")
_KNOWN = ("image_path", *AXES, *_OPTIONAL_NUMBERS, *_OPTIONAL_WORDS)


def build(root: str, *, scale: str, table: str | None = None, licence: str = "not stated") -> Built:
    """A CSV with the columns image_path, valence, arousal; or train.csv, valid.csv and test.csv.

    Optional columns: valence_std, arousal_std (standard deviation between raters, same units), valence_n,
    arousal_n (how many rated), group (what must not straddle two splits; by default each image is its own),
    split (train, valid, test). Empty ratings stay empty. All other columns go along, for --by.

    Args:
        root: The folder that image_path starts from, or any address that fsspec opens.
        scale: The units of the ratings, by name: reference (-1 to 1), unit (0 to 1), sam9 (1 to 9),
            oasis (1 to 7), emotic (1 to 10), findingemo (valence -3 to 3, arousal 0 to 6), afewva (-10 to 10).
        table: The CSV file, relative to root; by default train.csv, valid.csv and test.csv, else the only CSV there.
        licence: The terms of the images and ratings, to be kept with the manifest.

    Raises:
        ConfigError: if there is no such scale.
        DataError: if a table or column is missing, a rating is no number or off the scale, or no image is found.
    """
    import pandas as pd

    origin = Origin("csv", "A table of images and ratings", scale_of(scale), licence, EMPTY)
    place = Root.open(root)
    report = Report()
    parts = [_read(place, file, split, report) for file, split in _tables(place, table)]
    rows = pd.concat(parts, ignore_index=True)
    report.read = len(rows)
    for column in [name for name in rows if name not in ("path", *_KNOWN)]:
        rows[column] = typed(rows, column)
    return assemble(locate(rows, place, report), origin, place, report)


def _tables(root: Root, table: str | None) -> list[tuple[str, str | None]]:
    """The CSV files to read, each with the split it stands for."""
    if table is not None:
        return [(root.one_of("table", table), None)]
    by_split = [(name, split) for split, names in _SPLIT_FILES.items() for name in names if name in root.sizes]
    if by_split:
        return [*by_split]
    found = [path for path in root.sizes if path.lower().endswith(".csv") and "/" not in path]
    if len(found) != 1:
        what = f"several: {', '.join(found[:5])}" if found else "none"
        raise DataError(f"which CSV in {root.address}? There are {what}; name it with --table, or call it train.csv …")
    return [(found[0], None)]


def _read(root: Root, path: str, split: str | None, report: Report) -> pd.DataFrame:
    import pandas as pd

    read = read_csv(root.read_bytes(path), path)
    need(read, ("image_path", *AXES), path)
    rows = pd.DataFrame({"path": read["image_path"]})
    for column in (*AXES, *_OPTIONAL_NUMBERS):
        if column in read:
            rows[column] = numbers(read, column, path)
    own = report.own_columns(column for column in read if column not in _KNOWN)
    for column in (*_OPTIONAL_WORDS, *own):
        if column in read:
            rows[column] = words(read, column)
    if split is not None:
        rows["split"] = split
    elif "split" in rows:
        rows["split"] = split_names(rows["split"], path)
    return rows
