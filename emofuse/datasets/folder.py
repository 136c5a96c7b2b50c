"""A folder of images without labels."""

from __future__ import annotations

from emofuse.datasets.base import Built, Origin, Report, assemble
from emofuse.datasets.root import Root, is_image
from emofuse.errors import DataError

OTHER = "not named like an image"
ORIGIN = Origin("folder", "A folder of images", None, "not stated")


def build(root: str) -> Built:
    """Every image below a folder; no labels, no splits: all rows are evaluated as far as that needs no labels.

    Args:
        root: The folder, or any address that fsspec opens.

    Raises:
        DataError: if there is no such folder, or no image in it.
    """
    import pandas as pd

    place = Root.open(root)
    rows = pd.DataFrame({"path": list(place.sizes)}, dtype=object)
    report = Report(read=len(rows))
    rows = report.drop(rows, [not is_image(path) for path in rows["path"]], OTHER)
    if rows.empty:
        raise DataError(f"no image below {root}: {report.explain()}")
    return assemble(rows, ORIGIN, place, report)
