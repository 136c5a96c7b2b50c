"""Input checks that all metrics share: shapes are checked, and rows without a value left out per axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Metric = Any
"""A float for one axis (N,), a float64 array of shape (2,) for both (N, 2)."""


def columns(*arrays: ArrayLike) -> list[np.ndarray]:
    """The arrays as float64 of one common shape (N,) or (N, 2).

    Raises:
        ValueError: if the shapes differ or are neither (N,) nor (N, 2).
    """
    values = [np.asarray(array, dtype=np.float64) for array in arrays]
    shapes = [value.shape for value in values]
    if len(set(shapes)) != 1 or not (len(shapes[0]) == 1 or (len(shapes[0]) == 2 and shapes[0][1] == 2)):
        raise ValueError(f"expected arrays of one shape, (N,) or (N, 2); got {', '.join(map(str, shapes))}")
    return values


def per_axis(function: Callable[..., float], *arrays: ArrayLike, positive_last: bool = False) -> Metric:
    """`function` of the complete rows of each axis.

    Args:
        function: of as many (n,) float64 arrays without NaN as there are `arrays`; gives a float.
        arrays: of one shape, (N,) or (N, 2); NaN and infinite count as missing.
        positive_last: the last array is a variance: zero and negative count as missing too.

    Returns:
        A float for (N,), an array (2,) for (N, 2); NaN where an axis has no complete row.
    """
    values = columns(*arrays)
    if values[0].ndim == 1:
        complete = np.all(np.isfinite(values), axis=0)
        if positive_last:
            complete &= values[-1] > 0
        return float(function(*(value[complete] for value in values))) if complete.any() else np.nan
    both = [per_axis(function, *(value[:, i] for value in values), positive_last=positive_last) for i in (0, 1)]
    return np.array(both)
