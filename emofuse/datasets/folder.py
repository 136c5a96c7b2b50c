"""A folder of pictures without labels."""

from __future__ import annotations

from emofuse.datasets.base import Built, Origin, Report, assemble
from emofuse.datasets.root import Root, is_picture
from emofuse.errors import DataError

OTHER = "not named like a picture"
ORIGIN = Origin("folder", "A folder of pictures", None, "not stated")


def build(root: str) -> Built:
    """Every picture below a folder; no labels, no splits: all rows are judged as far as that needs no labels.

    Args:
        root: The folder, or any address that fsspec opens.

    Raises:
        DataError: if there is no such folder, or no picture in it.
    """
    import pandas as pd

    place = Root.open(root)
    rows = pd.DataFrame({"path": list(place.sizes)}, dtype=object)
    report = Report(read=len(rows))
    rows = report.drop(rows, [not is_picture(path) for path in rows["path"]], OTHER)
    if rows.empty:
        raise DataError(f"no picture below {root}: {report.explain()}")
    return assemble(rows, ORIGIN, place, report, seed=None)
