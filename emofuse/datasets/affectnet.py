"""AffectNet (Mollahosseini, Hasani & Mahoor 2017): faces from the web."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from emofuse.affect import AXES
from emofuse.datasets.base import Built, Origin, Report, assemble, locate
from emofuse.datasets.root import Root, is_image
from emofuse.datasets.tables import need, numbers, read_csv
from emofuse.errors import DataError
from emofuse.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = Origin(
    name="affectnet",
    title="AffectNet (Mollahosseini, Hasani & Mahoor 2017)",
    scale=SCALES["affectnet"],
    licence="research only, on request from the authors; no commercial use",
    sentinels="-2 is invalid (uncertain, or no face): dropped",
)
INVALID = -2.0
UNCERTAIN = "marked invalid (-2): uncertain, or no face"
# No test set was ever published: the validation set is what papers report on.
_CSVS = {"training.csv": "train", "validation.csv": "test"}
_SETS = {"train_set": "train", "val_set": "test"}
_CSV_FOLDERS = ("", "Manually_Annotated_file_lists/", "Manually_Annotated/")
_IMAGES = ("", "Manually_Annotated_Images/", "Manually_Annotated/Manually_Annotated_Images/", "images/")


def build(root: str) -> Built:
    """AffectNet: faces with valence and arousal, -1 to 1; -2 marks a face without a valid rating.

    Reads training.csv and validation.csv as published (subDirectory_filePath, valence, arousal, with the images
    in Manually_Annotated_Images/), and the per-image form (train_set/ and val_set/ with images/N.jpg and
    annotations/N_val.npy, N_aro.npy). Rows marked -2 are dropped and counted. No test set is published, so the
    validation set, on which papers report, becomes test; --split makes a part of train valid.

    Args:
        root: The folder with the annotations and the images, or any address that fsspec opens.

    Raises:
        DataError: if neither form is found, a rating is off the scale, or no image is found.
    """
    import pandas as pd

    place = Root.open(root)
    found = {
        folder + name: split for name, split in _CSVS.items() for folder in _CSV_FOLDERS if folder + name in place.sizes
    }
    parts = [_from_csv(place, name, split) for name, split in found.items()] or _from_arrays(place)
    rows = pd.concat(parts, ignore_index=True)
    report = Report(read=len(rows))
    rows = report.drop(rows, (rows[list(AXES)] == INVALID).any(axis=1), UNCERTAIN)
    return assemble(locate(rows, place, report), ORIGIN, place, report)


def _from_csv(root: Root, name: str, split: str) -> pd.DataFrame:
    import pandas as pd

    read = read_csv(root.read_bytes(name), name)
    need(read, ("subDirectory_filePath", *AXES), name)
    paths = [_place(root, path) for path in read["subDirectory_filePath"]]
    rows = pd.DataFrame({"path": paths, "split": split})
    for axis in AXES:
        rows[axis] = numbers(read, axis, name)
    if "expression" in read:
        rows["expression"] = read["expression"].str.strip()
    return rows


def _place(root: Root, path: str) -> str:
    return next((folder + path for folder in _IMAGES if folder + path in root.sizes), path)


def _from_arrays(root: Root) -> list[pd.DataFrame]:
    import pandas as pd

    rows = []
    for path in root.sizes:
        folder, _, file = path.rpartition("/images/")
        split = _SETS.get(folder.rsplit("/", 1)[-1])
        if split and is_image(path):
            stem = f"{folder}/annotations/{file.rsplit('.', 1)[0]}"
            ratings = {axis: _value(root, f"{stem}_{axis[:3]}.npy") for axis in AXES}
            rows.append({"path": path, "split": split, **ratings})
    if not rows:
        raise DataError(f"no AffectNet in {root.address}: looked for {', '.join(_CSVS)} and {', '.join(_SETS)}")
    return [pd.DataFrame(rows)]


def _value(root: Root, name: str) -> float:
    """The one number of an array file, which may hold it as text; NaN where there is no file."""
    if name not in root.sizes:
        return np.nan
    try:
        value = np.load(io.BytesIO(root.read_bytes(name)), allow_pickle=False)
        return float(value.reshape(-1)[0])
    except (ValueError, EOFError, IndexError) as error:
        raise DataError(f"{name} should hold one number: {error}") from None
