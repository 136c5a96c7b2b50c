"""Train, valid and test, disjoint by group and by what the images show.

A data set's own splits are kept. Where shares are asked for, groups are dealt by a seed, stratified on joint bins
of valence and arousal. Rows enter in the order of their paths, so the same data set is split the
same way wherever it lies.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from emofuse.errors import ConfigError
from emofuse.tables.schema import SPLITS

_FOLDS = 20
_STEP = 100 // _FOLDS
_BINS = (3, 2, 1)


def shares(text: str) -> dict[str, float]:
    """The shares of train, valid and test in words like "70/15/15"; those of 0 are left out.

    >>> shares("70/15/15")
    {'train': 0.7, 'valid': 0.15, 'test': 0.15}

    Raises:
        ConfigError: if these are not three shares in steps of 5 that add up to 100, two of them above 0.
    """
    parts = text.split("/")
    numbers = [int(part) for part in parts if part.strip().isdecimal()]
    given = {name: number / 100 for name, number in zip(SPLITS, numbers, strict=False) if number}
    whole = len(numbers) == len(parts) == len(SPLITS) and sum(numbers) == 100 and not any(n % _STEP for n in numbers)
    if not whole or len(given) < 2:
        raise ConfigError(
            f"--split takes the shares of {', '.join(SPLITS)} in steps of {_STEP} %, two of them above 0, "
            f"as 70/15/15 or 0/50/50; got {text!r}"
        )
    return given


def join_groups(groups: Sequence[str], contents: Sequence[str]) -> np.ndarray:
    """Groups that share an image become one.

    Args:
        groups: (N,) the unit that must not straddle two splits.
        contents: (N,) equal where two rows show the same bytes.

    Returns:
        str, (N,): per row the name of its joined group, the alphabetically first of its members.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    _, content = np.unique(np.asarray(contents, dtype=object).astype(str), return_inverse=True)
    size = len(names) + int(content.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(group)), (group, len(names) + content)), shape=(size, size))
    member = connected_components(edges, directed=False)[1][: len(names)]
    # Names are sorted, so the first index of a component is its alphabetically first name.
    _, first = np.unique(member, return_index=True)
    return names[first[member]][group]


def assign(labels: np.ndarray, groups: np.ndarray, seed: int, fractions: Mapping[str, float]) -> np.ndarray | None:
    """Deal rows to splits, whole groups at a time.

    Args:
        labels: (N, 2) valence and arousal, NaN where there is none; any scale.
        groups: (N,) joined groups.
        seed: fixes the deal.
        fractions: share of the rows per split, in the order of the deal; they add up to 1.

    Returns:
        str, (N,): the split of each row; None where there are fewer groups than splits.
    """
    count = len(np.unique(groups))
    if count < len(fractions):
        return None
    folds = min(_FOLDS, count)
    ends = _ends(folds, list(fractions.values()))
    order = np.array(list(fractions), dtype=object)
    return order[np.searchsorted(ends, _folds(labels, groups, folds, seed), side="right")]


def keep_last(splits: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where published splits share a group or an image, which rows may stay: those of the last of its splits.

    A test image that also stands in train would make the test easier, so it is train that loses it.

    Args:
        splits: (N,) published splits, None where a row has none.
        keys: (N,) the group, or the content, of each row.

    Returns:
        bool, (N,): the rows that stay; rows without a split always do.
    """
    order = rank(splits)
    _, key = np.unique(keys.astype(str), return_inverse=True)
    last = np.full(key.max(initial=-1) + 1, -1)
    np.maximum.at(last, key, order)
    return (order == last[key]) | (order < 0)


def rank(splits: np.ndarray) -> np.ndarray:
    """Place of each split among train, valid, test, int (N,); -1 for none."""
    return np.array([SPLITS.index(split) if split in SPLITS else -1 for split in splits], dtype=int)


def _ends(folds: int, shares: list[float]) -> np.ndarray:
    """The first fold after each split; every split gets at least one."""
    later = [max(1, round(folds * share)) for share in shares[1:]]
    return np.cumsum([folds - sum(later), *later])[:-1]


def _folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, whole groups at a time.

    Groups of one row are dealt apart where there are enough of them: the same deal, without
    the loop over every group, which would take minutes for a hundred thousand.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    alone = size[group] == 1
    if alone.sum() < folds or 0 < len(size) - alone.sum() < folds:
        alone[:] = (size == 1).all()
    fold = np.empty(len(groups), dtype=int)
    for rows, kind in ((np.flatnonzero(alone), StratifiedKFold), (np.flatnonzero(~alone), StratifiedGroupKFold)):
        if not len(rows):
            continue
        bins = _joint_bins(labels[rows], folds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bins rarer than the folds are dealt as evenly as they go
            dealt = kind(folds, shuffle=True, random_state=seed).split(bins, bins, group[rows])
            for number, (_, held) in enumerate(dealt):
                fold[rows[held]] = number
    return fold


def _joint_bins(labels: np.ndarray, folds: int) -> np.ndarray:
    """Joint quantile bins of both axes, as fine as the folds can serve; -1 where a label is missing."""
    known = np.isfinite(labels).all(axis=1)
    for bins in _BINS:
        joint = np.full(len(labels), -1)
        if known.any():
            cuts = np.quantile(labels[known], np.arange(1, bins) / bins, axis=0)
            parts = [np.searchsorted(cuts[:, axis], labels[known, axis], side="right") for axis in (0, 1)]
            joint[known] = parts[0] * bins + parts[1]
        if np.unique(joint, return_counts=True)[1].max() >= folds:
            return joint
    return np.zeros(len(labels), dtype=int)
