"""`emofuse prepare NAME --root DIR --out MANIFEST.parquet`: a data set as published becomes a manifest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emofuse.affect import AXES
from emofuse.datasets import CONVERTERS, Built, splits, with_splits
from emofuse.io import storage
from emofuse.io.addresses import display_uri, printable
from emofuse.tables import schema
from emofuse.tables.columns import both

ENOUGH = 20
"""Ratings from which on their range tells something."""
NARROW = 0.4
"""The part of a scale that ratings cover at least, if they are on it."""
DESCRIPTION = """Turn a data set, as published, into a manifest that the other commands read: one row per image or
frame, ratings on the reference scale [-1, 1], published splits disjoint by group and by image.
`emofuse prepare NAME --help` tells what each data set expects."""


def _later(build: Callable[..., Built]) -> Callable[..., Callable[[], Built]]:
    """`build`, seen by the command line with its own options, but run only when the job runs."""

    @functools.wraps(build)
    def prepared(*args: Any, **options: Any) -> Callable[[], Built]:
        return functools.partial(build, *args, **options)

    return prepared


if TYPE_CHECKING:
    Dataset = Callable[[], Built]
else:
    Dataset = Union[  # noqa: UP007 - the members are only known here
        tuple(
            Annotated[Callable[[], Built], tyro.conf.subcommand(name, constructor=_later(build))]
            for name, build in CONVERTERS.items()
        )
    ]


@tyro.conf.configure(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.CascadeSubcommandArgs)
@dataclass(frozen=True)
class Options:
    """What to prepare, and where to."""

    dataset: Dataset
    """Which data set."""
    out: str
    """The Parquet file to write; any address that fsspec opens."""
    split: str | None = None
    """Deal groups to train/valid/test in these shares of 100, as 70/15/15; needed only to train or to calibrate."""
    seed: int = 0
    """Fixes that deal."""


def main(options: Options) -> None:
    """Build the table, write it, and tell what is in it."""
    shares = splits.shares(options.split) if options.split is not None else None
    built = options.dataset()
    if shares:
        built = with_splits(built, shares, options.seed)
    storage.write_table(options.out, built.table)
    tell(built, options.out, Console())


def tell(built: Built, out: str, console: Console) -> None:
    """Print what was read, kept and dropped, the units, the licence and the splits."""
    about: dict[str, Any] = schema.read_metadata(built.table.schema)
    if isinstance(about["dataset"], dict):  # a predictions table tells of its data set beside its experts
        about = about["dataset"]
    facts = Table(title=Text(printable(str(about["title"]))), title_justify="left", show_header=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(built, about):
        # Names come from strangers' files: as text, they are neither markup nor commands to a terminal.
        facts.add_row(name, Text(printable(value)))
    console.print(facts)
    told = f"{built.table.num_rows:,} rows written to {display_uri(out)}"
    console.print(told, highlight=False, soft_wrap=True, markup=False)


def _facts(built: Built, about: dict[str, Any]) -> list[tuple[str, str]]:
    report, units = built.report, about["source_units"]
    facts = [("read", f"{report.read:,}"), ("kept", f"{report.kept:,}")]
    facts += [("dropped", f"{n:,}: {why} (first: {report.examples[why]})") for why, n in report.dropped.items()]
    facts += [("note", note) for note in report.notes]
    if units:
        ranges = [f"{axis} {low:g} to {high:g}" for axis, (low, high) in zip(AXES, _ends(units), strict=True)]
        facts.append(("source units", f"{', '.join(ranges)} ({units['scale']}); in the table -1 to 1"))
        facts += _found(built, units)
        facts.append(("sentinels", str(about["sentinels"])))
    facts.append(("licence", str(about["licence"])))
    split = built.table.column("split").to_pylist()
    counts = [(name or "none", split.count(name)) for name in (*schema.SPLITS, None)]
    facts.append(("splits", ", ".join(f"{name} {count:,}" for name, count in counts if count)))
    facts.append(("groups", f"{len(built.table.column('group').unique()):,}"))
    return facts


def _ends(units: dict[str, Any]) -> list[tuple[float, float]]:
    return [tuple(units[axis]) for axis in AXES]


def _found(built: Built, units: dict[str, Any]) -> list[tuple[str, str]]:
    """What ratings there are, in source units, and whether they look as if they were on another scale."""
    facts, ratings = [], both(built.table)
    for axis, (low, high), values in zip(AXES, _ends(units), ratings.T, strict=True):
        there = values[np.isfinite(values)]
        if len(there):
            least, most = (low + (value + 1) / 2 * (high - low) for value in (there.min(), there.max()))
            facts.append((f"{axis} found", f"{least:.4g} to {most:.4g} in {len(there):,} rows"))
            if len(there) >= ENOUGH and there.max() - there.min() < 2 * NARROW:
                share = (there.max() - there.min()) / 2
                what = f"{axis} covers {share:.0%} of the scale {units['scale']}: are the ratings really on it?"
                facts.append(("look", what))
    return facts
