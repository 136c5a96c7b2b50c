"""Is one predictor better than another, and how sure are we? The unit is the group where there are groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from emofuse.metrics.accuracy import mae
from emofuse.metrics.axes import Metric
from emofuse.metrics.resampling.intervals import Method, check_method, interval
from emofuse.metrics.resampling.pairs import Statistic, compare
from emofuse.metrics.resampling.permutations import p_values, sign_flips


@dataclass(frozen=True)
class BootstrapDifference:
    """statistic(a) - statistic(b) and its interval; floats, or arrays (2,) for both axes.

    Attributes:
        difference: on all rows.
        ci_low, ci_high: ends of the confidence interval; NaN with fewer than two groups.
        n: rows that entered.
        n_groups: groups that were resampled.
        distribution: the differences of the resamples, shape (R,) or (R, 2).
    """

    difference: Metric
    ci_low: Metric
    ci_high: Metric
    n: int
    n_groups: int
    distribution: np.ndarray


@dataclass(frozen=True)
class PermutationDifference:
    """statistic(a) - statistic(b) and its two-sided p; floats, or arrays (2,) for both axes.

    Attributes:
        difference: on all rows.
        p: chance of a difference at least as large, either way, were a and b exchangeable.
        exact: whether all sign_flips were tried; else p counts the observed one among those drawn.
        n: rows that entered.
        n_groups: groups that were swapped as one.
    """

    difference: Metric
    p: Metric
    exact: bool
    n: int
    n_groups: int


def paired_bootstrap(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    statistic: Statistic = mae,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    confidence: float = 0.95,
    method: Method = "BCa",
    rng: np.random.Generator | int = 0,
) -> BootstrapDifference:
    """Bootstrap interval of statistic(truth, a) - statistic(truth, b), both taken on the same resamples.

    Any losses that are a number for each row, as those of `uncertainty.nll_rows`, are compared with a truth of
    zeros and the statistic `accuracy.bias`: their mean difference.

    Args:
        truth: labels, (N,) or (N, 2).
        a: means of one predictor, the shape of `truth`.
        b: means of the other.
        statistic: of (truth, mean), a float or one for each axis; those of `accuracy` are quickest.
        groups: names, shape (N,); whole groups are resampled. None: every row is its own group. Above 20,000 they
            are resampled in random bundles.
        resamples: how many.
        confidence: of the two-sided interval.
        method: "BCa", or "percentile"; BCa falls back to it where it is undefined.
        rng: a generator or its seed.

    Returns:
        Of the rows that have truth, a and b (on both axes, where there are two).

    Raises:
        ValueError: if shapes do not agree, no row is complete, or `method` or `confidence` is not as above.
    """
    check_method(method)
    pair = compare(truth, a, b, statistic, groups)
    observed = pair.observed()
    resampled = pair.bootstrap(resamples, np.random.default_rng(rng))
    jackknife = pair.jackknife() if method == "BCa" and pair.n_units > 1 else None
    low, high = interval(observed, resampled, jackknife, confidence)
    if pair.n_groups < 2:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    return BootstrapDifference(
        pair.unpack(observed), pair.unpack(low), pair.unpack(high), pair.n, pair.n_groups, pair.unpack(resampled)
    )


def paired_permutation(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    statistic: Statistic = mae,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 9999,
    rng: np.random.Generator | int = 0,
) -> PermutationDifference:
    """Two-sided permutation test: within whole groups the two predictors change places.

    For the mean absolute error that is the sign flip of each group's summed loss difference. All 2^groups sign_flips
    are tried where they are no more than `resamples`, else so many are drawn and p = (1 + hits) / (1 + drawn).

    Args and Raises: as `paired_bootstrap`.
    """
    pair = compare(truth, a, b, statistic, groups)
    observed = pair.observed()
    exact, chunks = sign_flips(pair.n_units, resamples, np.random.default_rng(rng))
    p = p_values(observed, (pair.swapped(chunk) for chunk in chunks), exact=exact)
    return PermutationDifference(pair.unpack(observed), pair.unpack(p), exact, pair.n, pair.n_groups)


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


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values, in the shape and order of `p`; NaN stays NaN and is not counted as a comparison.

    Source: Holm 1979; `statsmodels.stats.multitest.multipletests`.
    """
    from statsmodels.stats.multitest import multipletests

    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    if known.any():
        adjusted[known] = multipletests(values[known], method="holm")[1]
    return adjusted
