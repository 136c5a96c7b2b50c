"""A Hugging Face data set on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.affect import AXES
from emofuse.datasets.base import MISSING, Built, Origin, Report, assemble
from emofuse.datasets.root import Root
from emofuse.datasets.tables import numbers, split_names, words
from emofuse.errors import DataError
from emofuse.io import storage
from emofuse.io.images import content_hash
from emofuse.scales import scale as scale_of
from emofuse.tables.extra import plain_type

if TYPE_CHECKING:
    import pandas as pd

NO_IMAGE = "row without an image"
EMPTY = "null or NaN is no rating: kept without a label"
_ENDINGS = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp", b"RI": ".webp", b"II": ".tif"}


def build(
    root: str,
    *,
    scale: str,
    images: str | None = None,
    image: str = "image",
    labels: tuple[str, str] = ("valence", "arousal"),
    group: str | None = None,
    licence: str = "as the data set's card says",
) -> Built:
    """A Hugging Face data set on disk: a folder of save_to_disk, or of Parquet or image files that datasets reads.

    Splits called train, validation (or valid, val) and test are kept; without a test the rows of each stay where
    they are, and a single split counts as none. Columns of text, numbers and booleans go along.
    Images that the data set holds inside its tables (as save_to_disk always does) are written out once, named by
    their content.

    Args:
        root: The folder.
        scale: The units of the ratings, by name: reference, unit, sam9, oasis, emotic, findingemo, …
        images: The folder that images held inside the tables are written to; by default ROOT-images.
        image: The column of the images.
        labels: The columns of valence and arousal; may be absent.
        group: The column of what must not straddle two splits; without it each image is its own.
        licence: The terms of the data set, to be kept with the manifest.

    Raises:
        ConfigError: if the scale is unknown.
        DataError: if the package datasets is not installed, or the folder is no data set of this form.
    """
    import pandas as pd

    origin = Origin("hf", f"Hugging Face data set {Path(root).name}", scale_of(scale), licence, EMPTY)
    parts = _load(root)
    out = Path(storage.absolute(images or f"{root.rstrip('/')}-images"))
    files: dict[str, Path] = {}
    tables, report = [], Report()
    for name, part in parts.items():
        rows = _rows(part, root, image=image, labels=labels, group=group, report=report)
        rows["path"] = list(_paths(part, image, Path(storage.absolute(root)), out, files))
        tables.append(rows.assign(split=_split(name, alone=len(parts) == 1)))
    rows = pd.concat(tables, ignore_index=True)
    report.read = len(rows)
    rows = report.drop(rows.assign(path=rows["path"].fillna("")), rows["path"].isna(), NO_IMAGE)
    place = Root.of(files, root)
    rows = report.drop(rows, [path not in place.sizes for path in rows["path"]], MISSING)
    report.note(sum(path.is_relative_to(out) for path in files.values()), f"images written to {out}")
    return assemble(rows, origin, place, report)


def _load(root: str) -> dict[str, Any]:
    """The splits of the data set, by their names."""
    try:
        import datasets
    except ImportError:
        raise DataError("Hugging Face data sets need a package: pip install datasets") from None
    folder = Path(storage.absolute(root))
    if not folder.is_dir():
        raise DataError(f"no folder at {root}")
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        found = datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(str(folder))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{root} is no data set that the package datasets reads: {str(error).splitlines()[0]}"
        ) from None
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}


def _split(name: str, *, alone: bool) -> str | None:
    import pandas as pd

    if alone:
        return None
    return split_names(pd.Series([name or None], dtype=object), "the data set").iloc[0]


def _rows(
    part: Any, root: str, *, image: str, labels: tuple[str, str], group: str | None, report: Report
) -> pd.DataFrame:
    import pandas as pd

    wanted = [image, *([group] if group else [])]
    absent = [name for name in wanted if name not in part.column_names]
    if absent:
        raise DataError(f"{root} lacks {', '.join(absent)}; it has {', '.join(part.column_names)}")
    columns = [name for name in (*labels, group) if name in part.column_names]
    own = _own_columns(part, {image, *filter(None, columns)}, report)
    columns += own
    read = part.select_columns(columns).to_pandas() if columns else pd.DataFrame(index=range(len(part)))
    rows = pd.DataFrame(index=range(len(part)))
    for axis, column in zip(AXES, labels, strict=True):
        if column in read:
            rows[axis] = numbers(read, column, root)
    if group:
        rows["group"] = words(read, group)
    for column in own:
        rows[column] = read[column]
    return rows


def _own_columns(part: Any, known: set[str], report: Report) -> list[str]:
    """Further columns that go along: of text, numbers or booleans."""
    kinds = part.features.arrow_schema
    return report.own_columns(
        name for name in part.column_names if name not in known and plain_type(kinds.field(name).type) is not None
    )


def _paths(part: Any, image: str, root: Path, out: Path, files: dict[str, Path]) -> Iterator[str | None]:
    """The name of each row's image, which is entered in `files`; None for a row without one."""
    import datasets

    if isinstance(part.features[image], datasets.Image):
        part = part.cast_column(image, datasets.Image(decode=False))
    for row in part.select_columns([image]):
        value = row[image]
        value = value if isinstance(value, dict) else {"path": value, "bytes": None}
        if value.get("bytes"):
            path = _extract(value["bytes"], out)
            name = path.name
        elif value.get("path"):
            path = root / value["path"]
            name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        else:
            yield None
            continue
        files[name] = path
        yield name


def _extract(data: bytes, out: Path) -> Path:
    path = out / f"{content_hash(data)[:32]}{_ENDINGS.get(data[:2], '.img')}"
    if not path.exists():
        storage.write_bytes(str(path), data)
    return path
