"""The promise every manifest keeps: no id, group or image in two splits, whatever was published."""

from __future__ import annotations

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.datasets.base import Origin, Report, assemble
from emofuse.datasets.root import Root
from emofuse.errors import DataError
from emofuse.scales import SCALES
from emofuse.tables.schema import check_manifest

ORIGIN = Origin("made", "Made by a test", SCALES["unit"], "none")
Row = tuple[int, int, str | None]


def root_of(contents: list[int]) -> Root:
    """Files in memory, `content` deciding their bytes."""
    memory = fsspec.filesystem("memory")
    files = {f"p{i:03}.jpg": b"image %d" % content for i, content in enumerate(contents)}
    memory.pipe({f"/made/{name}": data for name, data in files.items()})
    return Root("memory://made", {n: len(d) for n, d in files.items()}, {n: f"/made/{n}" for n in files}, memory)


rows_strategy = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 30), st.sampled_from(["train", "valid", "test", None])),
    min_size=1,
    max_size=50,
)


@settings(max_examples=60, deadline=None)
@given(rows_strategy, st.booleans())
def test_no_id_group_or_image_is_in_two_splits(made: list[Row], published: bool) -> None:
    root = root_of([content for _, content, _ in made])
    rows = pd.DataFrame({"path": list(root.sizes), "group": [f"g{group}" for group, _, _ in made]})
    rows["valence"] = rows["arousal"] = np.linspace(0, 1, len(rows))
    if published:
        rows["split"] = [split for _, _, split in made]
    built = assemble(rows, ORIGIN, root, Report(read=len(rows)))
    table = check_manifest(built.table).to_pandas()
    assert table.sample_id.is_unique
    table["content"] = [made[int(uri[-7:-4])][1] for uri in table.uri]
    given_split = table[table.split.notna()]
    for key in ("group", "content"):
        assert (given_split.groupby(key).split.nunique() == 1).all()
    assert built.report.read == built.report.kept + sum(built.report.dropped.values())
    if not (published and any(split for _, _, split in made)):
        assert len(table) == len(made)
        assert (table.groupby("content").group.nunique() == 1).all()


def test_the_order_of_the_rows_does_not_matter() -> None:
    root = root_of(list(range(60)))
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"path": list(root.sizes), "valence": rng.random(60), "arousal": rng.random(60)})
    one = assemble(rows, ORIGIN, root, Report()).table
    other = assemble(rows.sample(frac=1, random_state=1), ORIGIN, root, Report()).table
    assert one.equals(other)


def test_nothing_left_is_a_data_error_that_says_why() -> None:
    root, report = root_of([1]), Report(read=2)
    rows = report.drop(pd.DataFrame({"path": ["a", "b"]}), [True, True], "lost")
    with pytest.raises(DataError, match=r"no image of made is left below memory://made: lost: 2 \(first: a\)"):
        assemble(rows, ORIGIN, root, report)
