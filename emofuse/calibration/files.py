"""Calibrations as JSON files, whose format and version are checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import DataError
from emofuse.io import storage


def plain(value: Any) -> Any:
    """`value` as JSON has it: arrays as lists, and NaN and infinity, which JSON lacks, as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def numbers(value: Any) -> np.ndarray:
    """Lists of numbers as float64, null as NaN; the inverse of `plain` for arrays without infinities."""
    return np.array(value, dtype=np.float64)


def write(path: str | Path, form: str, version: int, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` in one step.

    Raises:
        DataError: if the storage refuses.
    """
    text = json.dumps({"format": form, "version": version, **plain(content)}, indent=1, allow_nan=False)
    storage.write_bytes(str(path), f"{text}\n".encode())


def read(path: str | Path, form: str, version: int) -> dict[str, Any]:
    """The content of a file that `write` made.

    Raises:
        DataError: if the file is absent, is not JSON, or is of another format or version.
    """
    try:
        content = json.loads(storage.read_bytes(storage.absolute(str(path))))
    except (DataError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"cannot read {path} as {form}: {error}") from None
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != form:
        raise DataError(f"{path}: expected a file of format {form!r}, found {found!r}")
    if content.get("version") != version:
        raise DataError(f"{path}: {form} version {content.get('version')!r} is not known here; known: {version}")
    return content


def rebuild(what: str, build: Any, content: Mapping[str, Any]) -> Any:
    """`build(content)`, where a field that is missing or of the wrong kind is the file's fault.

    Raises:
        DataError: naming `what` and the field.
    """
    try:
        return build(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{what} is damaged: {type(error).__name__}: {error}") from None
