"""EMOTIC (Kosti et al. 2017): people in context, rated one by one."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root
from emofuse.datasets.tables import need, read_csv
from emofuse.errors import DataError
from emofuse.scales import SCALES
from emofuse.tables.schema import is_box

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = Origin(
    name="emotic",
    title="EMOTIC (Kosti et al. 2017)",
    scale=SCALES["emotic"],
    licence="non-commercial research, on request from the authors; images under their own terms",
    sentinels="NaN is a person without ratings: dropped",
)
UNRATED = "person without ratings of valence and arousal"
NO_BOX = "person whose box holds nothing"
_SPLITS = {"train": "train", "val": "valid", "test": "test"}
_MATS = ("Annotations.mat", "Annotations/Annotations.mat")
_FOLDERS = ("", "emotic/", "images/")
_CSV_FOLDERS = ("", "emotic_pre/", "annotations/", "Annotations/")
_CSV_NAMES = ("{}.csv", "annots_{}.csv", "annot_{}.csv")


def build(root: str) -> Built:
    """EMOTIC: one row per rated person, 1 to 10, with the person's box.

    Reads Annotations.mat as published, else the CSVs that are commonly made of it (Folder, Filename, BBox,
    Continuous_Labels; train.csv, val.csv, test.csv), with the images in mscoco/, framesdb/, emodb_small/ and
    ade20k/. Ratings are of persons, so an image with three of them gives three rows of one group; person_box
    holds left, top, right, bottom in pixels, and only a face in it is evaluated. With several raters (val and test
    of the .mat) the combined rating counts, and valence_std and arousal_std are their spread. The published
    splits are kept.

    Args:
        root: The folder with the annotations and the images, or any address that fsspec opens.

    Raises:
        DataError: if there are no annotations, they are not in the published form, or no image is found.
    """
    import pandas as pd

    place = Root.open(root)
    mat = next((name for name in _MATS if name in place.sizes), None)
    persons = list(_from_mat(place, mat) if mat else _from_csv(place))
    rows = pd.DataFrame(persons)
    report = Report(read=len(rows))
    if rows.empty:
        raise DataError(f"the annotations in {root} hold no person")
    rows["path"] = [_place(place, path) for path in rows["path"]]
    rows = report.drop(rows, rows[list(AXES)].isna().any(axis=1), UNRATED)
    rows = report.drop(rows, [not is_box(box) for box in rows["person_box"]], NO_BOX)
    rows = locate(rows, place, report)
    return assemble(rows.assign(group=rows["path"]), ORIGIN, place, report)


def _place(root: Root, path: str) -> str:
    return next((folder + path for folder in _FOLDERS if folder + path in root.sizes), path)


def _from_mat(root: Root, name: str) -> Iterator[dict[str, Any]]:
    from scipy.io import loadmat

    try:
        mat = loadmat(io.BytesIO(root.read_bytes(name)), simplify_cells=True)
    except (ValueError, NotImplementedError, TypeError) as error:
        raise DataError(f"{name} is not the published Annotations.mat: {error}") from None
    present = [part for part in _SPLITS if part in mat]
    if not present:
        raise DataError(f"{name} holds none of {', '.join(_SPLITS)}")
    for part in present:
        for image in _listed(mat[part]):
            for number, person in enumerate(_listed(image["person"])):
                rated = person.get("combined_continuous", person["annotations_continuous"])
                yield {
                    "path": f"{image['folder']}/{image['filename']}",
                    "part": number,
                    "split": _SPLITS[part],
                    "person_box": _box(person["body_bbox"]),
                    **{axis: _number(rated, axis) for axis in AXES},
                    **_spread(_listed(person["annotations_continuous"])),
                }


def _listed(value: Any) -> list[dict[str, Any]]:
    """A MATLAB struct array as a list, whatever its length."""
    if isinstance(value, dict):
        return [value]
    return [one for one in np.atleast_1d(value) if isinstance(one, dict)]


def _number(rated: Any, axis: str) -> float:
    value = rated.get(axis, np.nan) if isinstance(rated, dict) else np.nan
    return float(value) if np.size(value) == 1 else np.nan


def _spread(raters: list[dict[str, Any]]) -> dict[str, float]:
    """Standard deviations over the raters; NaN for one alone."""
    out = {}
    for axis in AXES:
        given = np.array([_number(rater, axis) for rater in raters])
        given = given[np.isfinite(given)]
        out[f"{axis}_std"] = float(given.std(ddof=1)) if len(given) > 1 else np.nan
    return out


def _box(values: Any) -> list[float]:
    """left, top, right, bottom; published boxes may begin outside the image."""
    return [float(edge) for edge in np.maximum(np.asarray(values, dtype=np.float64).ravel()[:4], 0)]


def _from_csv(root: Root) -> Iterator[dict[str, Any]]:
    found = {}
    for part in _SPLITS:
        names = [folder + name.format(part) for folder in _CSV_FOLDERS for name in _CSV_NAMES]
        if path := next((name for name in names if name in root.sizes), None):
            found[part] = path
    if not found:
        raise DataError(f"no EMOTIC annotations in {root.address}: looked for {', '.join(_MATS)}, train.csv …")
    for part, path in found.items():
        read = read_csv(root.read_bytes(path), path)
        need(read, ("Folder", "Filename", "BBox", "Continuous_Labels"), path)
        yield from _csv_rows(read, path, _SPLITS[part])


def _csv_rows(read: pd.DataFrame, name: str, split: str) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for number, row in enumerate(read.itertuples(index=False), start=1):
        path = f"{row.Folder}/{row.Filename}"
        ratings = _list(row.Continuous_Labels, 3, name, number)
        seen[path] = seen.get(path, -1) + 1
        yield {
            "path": path,
            "part": seen[path],
            "split": split,
            "person_box": _box(_list(row.BBox, 4, name, number)),
            "valence": ratings[0],
            "arousal": ratings[1],
        }


def _list(text: str, length: int, name: str, number: int) -> list[float]:
    """A list of numbers written as text: `[5.0, 3.0, 9.0]`, with `nan` for none."""
    if not text.strip("[] "):
        return [np.nan] * length
    try:
        values = [np.nan if v is None else float(v) for v in ast.literal_eval(text.replace("nan", "None"))]
    except (ValueError, SyntaxError, TypeError):
        values = []
    if len(values) < length:
        raise DataError(f"{name}: data row {number} should hold {length} numbers, has {text!r}")
    return values
