"""Splits: disjoint by group and by image, of the right size, alike in their labels, and repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.datasets import splits
from emofuse.datasets.base import content_keys
from emofuse.datasets.root import Root
from emofuse.tables.schema import SPLITS

THREE = splits.shares("70/15/15")


@st.composite
def labelled_groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(3, 120))
    groups = np.array(draw(st.lists(st.integers(0, 40), min_size=rows, max_size=rows))).astype(str)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    labels = rng.uniform(-1, 1, (rows, 2))
    labels[rng.random(rows) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = np.nan
    return labels, groups


@settings(max_examples=60, deadline=None)
@given(labelled_groups(), st.integers(0, 5))
def test_a_group_is_in_one_split_and_every_split_has_rows(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, groups = data
    split = splits.assign(labels, groups, seed, THREE)
    if len(np.unique(groups)) < 3:
        assert split is None
        return
    assert split is not None
    assert set(split) == set(SPLITS)
    for group in np.unique(groups):
        assert len(set(split[groups == group])) == 1
    np.testing.assert_array_equal(split, splits.assign(labels, groups, seed, THREE))


@pytest.mark.parametrize("rows_per_group", [1, 4])
def test_shares_are_70_15_15_and_labels_alike(rows_per_group: int) -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(400), rows_per_group).astype(str)
    centre = np.repeat(rng.uniform(-0.8, 0.8, (400, 2)), rows_per_group, axis=0)
    labels = centre + rng.normal(0, 0.1, centre.shape)
    split = splits.assign(labels, groups, 0, THREE)
    for name, share in THREE.items():
        mine = split == name
        assert np.mean(mine) == pytest.approx(share, abs=0.02)
        # The spread of labels is .47; unstratified means of 60 groups would differ by .06 (1 standard error).
        np.testing.assert_allclose(labels[mine].mean(axis=0), labels.mean(axis=0), atol=0.06)


def test_many_single_rows_among_groups_are_dealt_with_the_same_shares() -> None:
    groups = np.r_[np.repeat(np.arange(100), 5), np.arange(1000, 1500)].astype(str)
    labels = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    split = splits.assign(labels, groups, 1, THREE)
    for part in (slice(0, 500), slice(500, 1000)):
        for name, share in THREE.items():
            assert np.mean(split[part] == name) == pytest.approx(share, abs=0.04)


def test_another_seed_is_another_deal() -> None:
    labels, groups = np.random.default_rng(0).uniform(-1, 1, (300, 2)), np.arange(300).astype(str)
    assert (splits.assign(labels, groups, 0, THREE) != splits.assign(labels, groups, 1, THREE)).mean() > 0.2


def test_groups_that_share_a_image_are_joined_however_far_the_chain_goes() -> None:
    groups = ["b", "a", "c", "d", "e", "e"]
    contents = ["1", "1", "2", "2", "3", "1"]
    assert splits.join_groups(groups, contents).tolist() == ["a", "a", "c", "c", "a", "a"]


def test_of_a_straddling_group_only_the_last_published_split_stays() -> None:
    published = np.array(["train", "valid", "test", "train", None, "train"], dtype=object)
    groups = np.array(["a", "a", "b", "b", "b", "c"])
    assert splits.keep_last(published, groups).tolist() == [False, True, True, False, True, True]


def test_only_equal_bytes_have_equal_keys_and_little_is_read(tmp_path: Path) -> None:
    long = bytes(10_000)
    contents = {
        "a": b"x",
        "b": b"y",
        "c": b"x",
        "d": long,
        "e": b"1" + long[1:],
        "f": long,
        "g": long[1:] + b"1",
        "h": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    root = Root.open(str(tmp_path))
    whole: list[str] = []
    watched = Root(root.address, root.sizes, root.places, root.system)
    object.__setattr__(watched, "read_bytes", lambda path: (whole.append(path), root.read_bytes(path))[1])
    keys = content_keys(watched, contents)
    for one in contents:
        for other in contents:
            assert (keys[one] == keys[other]) == (contents[one] == contents[other])
    assert sorted(whole) == ["a", "c", "d", "e", "f"]  # b and g differ at their ends, h in its size
