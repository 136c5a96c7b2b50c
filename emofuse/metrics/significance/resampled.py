"""Differences from repeated splits of the same rows, which overlap and are no independent draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student


def corrected_resampled_ttest(differences: ArrayLike, n_train: int, n_test: int) -> tuple[float, float]:
    """Student's test of differences from J overlapping splits, their variance corrected for the overlap.

    t = d̄ / sqrt(s² (1/J + n_test/n_train)) with J - 1 degrees of freedom and s² unbiased.

    Args:
        differences: one for each split, shape (J,), J >= 2.
        n_train: rows (or groups) fitted on in a split.
        n_test: rows (or groups) evaluated in a split.

    Returns:
        (t, p), p two-sided; (NaN, NaN) where all differences are zero, t infinite where they are equal otherwise.

    Raises:
        ValueError: for fewer than two differences, a NaN among them, or sizes below 1.

    Source: Nadeau & Bengio 2003, Machine Learning 52.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2 or not np.isfinite(d).all():
        raise ValueError(f"expected at least two finite differences in one row; got shape {d.shape}")
    if n_train < 1 or n_test < 1:
        raise ValueError(f"expected n_train and n_test of at least 1; got {n_train} and {n_test}")
    spread = 0.0 if np.ptp(d) == 0 else float(d.var(ddof=1))
    error = np.sqrt(spread * (1 / len(d) + n_test / n_train))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = float(np.divide(d.mean(), error))
    return t, float(2 * student.sf(abs(t), len(d) - 1))
