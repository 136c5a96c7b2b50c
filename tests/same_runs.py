"""Whether two runs hold the same values, to the last bit.

    python tests/same_runs.py RUN_A RUN_B [--renamed OLD=NEW ...]

Compared are the values of tables, calibrations and heads. Times, versions and origins (run.json, a table's
metadata, reports) differ from run to run and are left out. RUN_A and RUN_B may be folders of many runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

NAMING = ("system", "a", "b", "better")
"""Columns whose values are names of systems, so a renamed system is renamed in them too."""
TIMES = ("seconds", "time_total_s")
"""Columns that hold how long something took."""
CALIBRATION = "calibration.json"
PARTS = ("part-", "features-")
"""How files begin that are parts of one table, named by a hash; its first column tells the rows apart."""


class Column(NamedTuple):
    """Values with their type."""

    type: str
    values: list[Any]


Columns = dict[str, Column]
"""The columns of a table, the tensors and card numbers of a head, or the numbers of a calibration, by name."""


def differences(a: Path, b: Path, renamed: Mapping[str, str] = {}) -> list[str]:
    """What differs between two runs, one line each; empty where every value is the same.

    Args:
        a: a run's folder, or a folder of runs.
        b: the other.
        renamed: how files, folders, columns, keys and systems of `a` are called in `b`.
    """
    return [f"{name}: {line}" for name, _, lines in compared(a, b, renamed) for line in lines]


def compared(a: Path, b: Path, renamed: Mapping[str, str] = {}) -> Iterator[tuple[str, str, list[str]]]:
    """Name, size and differences of every artefact that either run holds."""
    ones, others = ({path: _renamed(path, renamed) for path in artefacts(a)}, artefacts(b))
    if not ones or not others:
        yield "", "", [f"nothing to compare in {folder}" for folder, there in ((a, ones), (b, others)) if not there]
        return
    sources = {new: old for old, new in ones.items()}
    for name in sorted({*sources, *others}):
        if name not in sources or name not in others:
            yield name, "", [f"only in {b if name in others else a}"]
            continue
        one, other = _renamed_columns(read(a, sources[name]), renamed), read(b, name)
        yield name, _size(one), list(_column_differences(one, other))


def artefacts(run: Path) -> set[str]:
    """Relative paths of all that is compared; a table in parts goes by its folder."""
    files = [path for path in run.rglob("*") if path.suffix in (".parquet", ".safetensors") or path.name == CALIBRATION]
    parts = (path.parent if path.name.startswith(PARTS) else path for path in files)
    return {path.relative_to(run).as_posix() for path in parts}


def read(run: Path, name: str) -> Columns:
    """One artefact's values, by column."""
    path = run / name
    if path.name == CALIBRATION:
        return dict(_numbers(json.loads(path.read_text(encoding="utf-8"))))
    if path.suffix == ".safetensors":
        return _head(path)
    if path.is_file():
        return _columns(pq.read_table(path))
    # However the rows were cut into parts, they are the same rows.
    table = pa.concat_tables([pq.read_table(part) for part in sorted(path.glob("*.parquet"))])
    return _columns(table.sort_by(table.column_names[0]))


def _columns(table: pa.Table) -> Columns:
    names = [name for name in table.column_names if name not in TIMES]
    return {name: Column(str(table[name].type), table[name].to_pylist()) for name in names}


def _head(path: Path) -> Columns:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
        card = {name: json.loads(text) for name, text in (file.metadata() or {}).items() if text.startswith("{")}
    found = {name: Column(f"{each.dtype}{each.shape}", each.ravel().tolist()) for name, each in tensors.items()}
    return found | dict(_numbers(card))


def _numbers(content: Any, name: str = "") -> Iterator[tuple[str, Column]]:
    """Every number of a JSON document, by its path of keys."""
    if isinstance(content, dict | list):
        for key, each in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _numbers(each, f"{name}/{key}" if name else str(key))
    elif isinstance(content, int | float):
        yield name, Column("number", [content])


def _renamed(path: str, renamed: Mapping[str, str]) -> str:
    """A path as a whole, or each of its parts."""
    return renamed.get(path) or "/".join(renamed.get(part, part) for part in path.split("/"))


def _renamed_columns(columns: Columns, renamed: Mapping[str, str]) -> Columns:
    found = {}
    for name, column in columns.items():
        values = [renamed.get(each, each) for each in column.values] if name in NAMING else column.values
        found[_renamed(name, renamed)] = Column(column.type, values)
    return found


def _size(columns: Columns) -> str:
    return f"{max((len(column.values) for column in columns.values()), default=0):,} × {len(columns):,}"


def _column_differences(one: Columns, other: Columns) -> Iterator[str]:
    """A line for each column that is missing, is of another type or length, or holds another value."""
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            yield f"{name} is only in the {'first' if name in one else 'second'}"
        elif one[name].type != other[name].type:
            yield f"{name} is {one[name].type} and {other[name].type}"
        elif len(one[name].values) != len(other[name].values):
            yield f"{name} has {len(one[name].values)} and {len(other[name].values)} rows"
        else:
            pairs = enumerate(zip(one[name].values, other[name].values, strict=True))
            unequal = [(row, left, right) for row, (left, right) in pairs if exact(left) != exact(right)]
            if unequal:
                row, left, right = unequal[0]
                yield f"{name} differs in {len(unequal)} rows, first in row {row}: {left!r} and {right!r}"


def exact(value: Any) -> Any:
    """`value` with every float in it as hexadecimal text: equal where the bits are, and NaN equals NaN."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return [exact(each) for each in value]
    return {key: exact(each) for key, each in value.items()} if isinstance(value, dict) else value


def main() -> int:
    """Print a line for each artefact; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_a", type=Path)
    parser.add_argument("run_b", type=Path)
    parser.add_argument("--renamed", nargs="*", default=[], metavar="OLD=NEW", help="names of RUN_A and of RUN_B")
    options = parser.parse_args()
    renamed = dict(pair.split("=", 1) for pair in options.renamed)
    same = True
    for name, size, lines in compared(options.run_a, options.run_b, renamed):
        print(f"{name}: {size} {'; '.join(lines[:1]) or 'equal'}" + f" (and {len(lines) - 1} more)" * (len(lines) > 1))
        same &= not lines
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
