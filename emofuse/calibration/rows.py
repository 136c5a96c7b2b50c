"""Rows for fitting and evaluating a calibration: complete, on the reference scale, split by whole groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupShuffleSplit

from emofuse.errors import DataError


def paired(labels: ArrayLike, predictions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions as float64 (N, 2) arrays of one shape, labels on the reference scale.

    Raises:
        DataError: if the shapes differ, are not (N, 2), or a label leaves [-1, 1].
    """
    y, x = np.asarray(labels, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if x.shape != y.shape or y.ndim != 2 or y.shape[1] != 2:
        raise DataError(f"expected predictions and labels (N, 2), valence and arousal; got {x.shape} and {y.shape}")
    if (np.abs(y[np.isfinite(y)]) > 1 + 1e-6).any():
        raise DataError("labels must lie on the reference scale [-1, 1]; convert them with emofuse.scales first")
    return y, x


def group_ids(groups: ArrayLike | None, n: int) -> np.ndarray:
    """Groups as integers 0, 1, …; without groups every row is its own.

    Raises:
        DataError: if there is not one group per row.
    """
    if groups is None:
        return np.arange(n)
    names = np.asarray(groups)
    if names.shape != (n,):
        raise DataError(f"expected one group per row, ({n},); got {names.shape}")
    return np.asarray(pd.factorize(names.astype(object), sort=True, use_na_sentinel=False)[0])


def grouped_split(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (kept, held out); about `share` of the groups are held out, each whole.

    Raises:
        DataError: if `share` is not within (0, 1) or there are too few groups to split.
    """
    count = len(np.unique(groups))
    if not 0 < share < 1 or count < 2:
        raise DataError(f"cannot hold out {share} of {count} group(s): need two groups and a share within (0, 1)")
    held = min(max(1, round(share * count)), count - 1)
    splitter = GroupShuffleSplit(n_splits=1, test_size=held, random_state=seed)
    return next(splitter.split(groups, groups=groups))
