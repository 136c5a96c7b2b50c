"""What the sizes of groups say: how many equal ones they amount to, and the degrees of freedom they leave.

Sizes are (G,) or (G, K), one column for each of K estimates; a group of size 0 is not there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def effective_groups(sizes: np.ndarray) -> np.ndarray:
    """(sum n)^2 / sum n^2: as many groups of equal size have a mean of that variance, if rows of one are alike.

    Source: Kish 1965; NaN without rows.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.square(sizes.sum(0)) / np.square(sizes).sum(0))


def leverage(sizes: np.ndarray) -> np.ndarray:
    """a_g = (1 - n_g / N)^(-1/2), by which CR2 scales a group's residual; NaN where one group is all there is.

    Source: Bell & McCaffrey 2002, Survey Methodology 28, for a regression on a constant alone.
    """
    with np.errstate(invalid="ignore"):
        left = 1 - sizes / sizes.sum(0)
    return 1 / np.sqrt(np.where(left > 0, left, np.nan))


def satterthwaite(sizes: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the CR2 variance of a mean, tr(G)^2 / tr(G^2); NaN with fewer than two groups.

    G = diag(a/N) (diag(n) - n n'/N) diag(a/N) under rows of equal variance. Its diagonal is n_g / N^2 and its
    other entries are -a_g a_h n_g n_h / N^3, so the traces need no matrix: equal sizes leave G - 1.

    Source: Bell & McCaffrey 2002, Survey Methodology 28, eq. 11.
    """
    total = sizes.sum(0)
    scaled = np.square(leverage(sizes) * sizes)
    apart = np.square(scaled.sum(0)) - np.square(scaled).sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.square(total) / (np.square(sizes).sum(0) + apart / np.square(total)))


def group_numbers(groups: ArrayLike | None, n: int) -> tuple[np.ndarray, int]:
    """The groups of `n` rows as numbers 0 … n_groups - 1, and how many there are; None: each row its own.

    Raises:
        ValueError: if there are not `n` groups' names.
    """
    if groups is None:
        return np.arange(n), n
    names = np.asarray(groups)
    if names.shape != (n,):
        raise ValueError(f"expected groups of shape ({n},), one for each row; got {names.shape}")
    distinct, number = np.unique(names, return_inverse=True)
    return number, len(distinct)
