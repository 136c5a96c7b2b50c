"""Reading the tables that data sets publish, with messages that name file, column and row."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from emofuse.errors import DataError
from emofuse.tables.schema import SPLITS

if TYPE_CHECKING:
    import pandas as pd


def read_csv(data: bytes, name: str, **options: Any) -> pd.DataFrame:
    """A CSV file as text: every cell a string, an absent one empty; column names without outer spaces.

    Any line ends, with or without a byte-order mark; UTF-8, else Latin-1.

    Raises:
        DataError: if it cannot be read as a table.
    """
    import pandas as pd

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # Old Mac line ends stay a mystery to the parser unless they are made new ones.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{name} is no CSV table: {error}") from None
    return rows.rename(columns=lambda column: column.strip() if isinstance(column, str) else column)


def need(rows: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Check that a table has these columns.

    Raises:
        DataError: with those it lacks and those it has.
    """
    absent = [column for column in columns if column not in rows]
    if absent:
        raise DataError(f"{name} lacks {', '.join(absent)}; it has {', '.join(map(str, rows.columns))}")


def numbers(rows: pd.DataFrame, column: str, name: str) -> np.ndarray:
    """A column of a table as float64, (N,); empty cells and the usual words for none become NaN.

    Raises:
        DataError: if a cell is neither a number nor empty.
    """
    import pandas as pd

    cells = rows[column]
    if pd.api.types.is_numeric_dtype(cells):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(values), values, np.nan)
    text = cells.astype("string").fillna("").str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.isnan(values) & ~text.str.lower().isin(("", "nan", "na", "n/a", "none", "null", "<na>")).to_numpy()
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{name}: column {column} must hold numbers; data row {first + 1} has {cells.iloc[first]!r}")
    return np.where(np.isfinite(values), values, np.nan)


def words(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column of a table as text without outer spaces; empty cells become None."""
    text = rows[column].astype("string").str.strip()
    return text.where(text.notna() & (text != ""), None).astype(object)


def typed(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column of a table as numbers, where all of its cells are, as booleans or as text; empty cells become null.

    Numbers written with leading zeros are names, and stay text.
    """
    import pandas as pd

    text = words(rows, column)
    known = text.dropna().astype(str)
    if not len(known) or known.str.match(r"[+-]?0\d").any():
        return text
    if known.str.lower().isin(("true", "false")).all():
        return known.str.lower().eq("true").reindex(text.index).astype("boolean")
    values = pd.to_numeric(known, errors="coerce")
    if not np.isfinite(values.to_numpy(dtype=np.float64)).all():
        return text
    whole = pd.api.types.is_integer_dtype(values)
    return values.reindex(text.index).astype("Int64" if whole else "Float64")


def split_names(names: pd.Series, table: str) -> pd.Series:
    """Splits under our names: train, valid, test; None where there is none.

    Raises:
        DataError: if one is called otherwise.
    """
    known = {**{name: name for name in SPLITS}, "val": "valid", "validation": "valid", "training": "train"}
    lower = names.str.lower()
    unknown = sorted(set(lower.dropna()) - set(known))
    if unknown:
        raise DataError(f"{table}: split must be one of {', '.join(SPLITS)}; got {', '.join(unknown[:5])}")
    return lower.map(known).astype(object).where(lower.notna(), None)
