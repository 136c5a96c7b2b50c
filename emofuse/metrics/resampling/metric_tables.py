"""Whole tables of metrics with intervals: all systems, both axes, thousands of resamples of groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.resampling.cells import SystemCell, blocks, cells_of
from emofuse.metrics.resampling.intervals import Method, bootstrap_counts, check_method, interval
from emofuse.metrics.resampling.permutations import p_values, sign_flips
from emofuse.metrics.resampling.ranks import RankResampler
from emofuse.metrics.resampling.sums import SUMMABLE, SummedMetrics

COMPARED = ("mae", "rmse", "ccc", "pearson", "sagr")
"""The metrics in which two systems are compared; a difference of signed biases says nothing."""
_RANKED_ROWS = 20_000_000


@dataclass(frozen=True)
class MetricRow:
    """A metric of a system on an axis, with its interval (NaN where there is none), rows and groups."""

    system: str
    axis: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    n_groups: int


@dataclass(frozen=True)
class DifferenceRow:
    """metric(a) - metric(b) on the rows that both evaluate, its interval, and p of the two-sided permutation test."""

    a: str
    b: str
    axis: str
    metric: str
    difference: float
    ci_low: float
    ci_high: float
    p: float
    n: int
    n_groups: int


def metric_table(
    truth: ArrayLike,
    systems: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = tuple(METRICS),
    resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "BCa",
    spearman_resamples: int = 500,
    rng: np.random.Generator | int = 0,
) -> list[MetricRow]:
    """Every metric of every system on both axes, with bootstrap intervals over groups.

    Each system is evaluated on the rows it has; those that have rows of the same groups see the same resamples.

    Args:
        truth: labels, (N, 2), NaN where there is none.
        systems: means by name, each (N, 2), NaN where there is no prediction.
        groups: names, shape (N,); None: every row is its own group. Above 20,000 they are resampled in random bundles.
        metrics: names of `accuracy.METRICS`.
        resamples: how many; 0 for no intervals.
        confidence: of the two-sided intervals.
        method: "BCa" (percentile where that is undefined) or "percentile".
        spearman_resamples: at most so many for Spearman's correlation, whose intervals are percentile; of very
            many rows fewer, never below 100.
        rng: a generator or its seed.

    Returns:
        One row for each system, axis and metric; value NaN and n 0 where a system has no row, no interval
        where there are fewer than two groups.

    Raises:
        ValueError: if shapes do not agree or a metric is unknown.
    """
    names = _known(metrics, METRICS)
    check_method(method)
    summed = [name for name in names if name in SUMMABLE]
    cells = cells_of(truth, {(name,): (mean,) for name, mean in systems.items()}, groups)
    seed = seed_of(rng)
    ends: dict[_Key, tuple[float, float]] = {}
    for block in blocks(cells) if resamples else ():
        table = SummedMetrics([[cell.side(0) for cell in block]], block[0].n_units, summed)
        for key, low, high in _intervals(table, block, summed, resamples, confidence, method, seed):
            ends[key] = (low, high)
        for cell in block if "spearman" in names else ():
            drawn = min(resamples, spearman_resamples, max(100, _RANKED_ROWS // cell.n))
            ends[id(cell), "spearman"] = _spearman(cell, drawn, confidence, seed)
    return [_metric_row(cell, name, *ends.get((id(cell), name), (np.nan, np.nan))) for cell in cells for name in names]


def difference_table(
    truth: ArrayLike,
    systems: Mapping[str, ArrayLike],
    pairs: Iterable[tuple[str, str]],
    groups: ArrayLike | None = None,
    *,
    metrics: Iterable[str] = COMPARED,
    resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "BCa",
    rng: np.random.Generator | int = 0,
) -> list[DifferenceRow]:
    """Pairs of systems compared in every metric on both axes, on the rows that both evaluate.

    Both systems of a pair see the same resamples of groups, so the interval is that of the paired difference; p is
    of the permutation test that lets them change places within whole groups (`paired_permutation`), not adjusted
    for the number of comparisons: `significance.holm` does that.

    Args:
        pairs: names (a, b) among `systems`.
        metrics: names of `sums.SUMMABLE`: those but Spearman's.
        resamples: of the bootstrap and, where not all sign_flips can be tried, of the permutation test.
        Others as `metric_table`.

    Returns:
        One row for each pair, axis and metric; NaN where a metric is undefined or there are too few groups.

    Raises:
        ValueError: if shapes do not agree, or a metric or system is unknown.
    """
    names = _known(metrics, SUMMABLE)
    check_method(method)
    wanted = [tuple(_known(pair, systems)) for pair in pairs]
    cells = cells_of(truth, {(a, b): (systems[a], systems[b]) for a, b in wanted}, groups)
    seed = seed_of(rng)
    found: dict[_Key, tuple[float, float, float]] = {}
    for block in blocks(cells) if names else ():
        table = SummedMetrics([[cell.side(i) for cell in block] for i in (0, 1)], block[0].n_units, names)
        exact, chunks = sign_flips(block[0].n_units, resamples, np.random.default_rng(seed))
        p = p_values(table.observed(), map(table.swapped, chunks), exact=exact)
        ends = _intervals(table, block, names, resamples, confidence, method, seed)
        for (key, low, high), chance in zip(ends, p, strict=True):
            found[key] = (low, high, float(chance))
    nothing = (np.nan, np.nan, np.nan)
    return [_difference_row(cell, name, *found.get((id(cell), name), nothing)) for cell in cells for name in names]


_Key = tuple[int, str]
"""A cell, by its identity, and a metric."""


def _metric_row(cell: SystemCell, name: str, low: float, high: float) -> MetricRow:
    return MetricRow(cell.systems[0], cell.axis, name, cell.value(name), low, high, cell.n, cell.n_groups)


def _difference_row(cell: SystemCell, name: str, low: float, high: float, p: float) -> DifferenceRow:
    a, b = cell.systems
    return DifferenceRow(a, b, cell.axis, name, cell.value(name), low, high, p, cell.n, cell.n_groups)


def _intervals(
    table: SummedMetrics,
    block: list[SystemCell],
    names: Sequence[str],
    resamples: int,
    confidence: float,
    method: Method,
    seed: int,
) -> list[tuple[_Key, float, float]]:
    if not names:
        return []
    counts = bootstrap_counts(block[0].n_units, resamples, np.random.default_rng(seed))
    resampled = np.concatenate([table.weighted(chunk) for chunk in counts])
    jackknife = table.without_each() if method == "BCa" else None
    low, high = interval(table.observed(), resampled, jackknife, confidence)
    keys = [(id(cell), name) for cell in block for name in names]
    return list(zip(keys, low.tolist(), high.tolist(), strict=True))


def _spearman(cell: SystemCell, resamples: int, confidence: float, seed: int) -> tuple[float, float]:
    ranks = RankResampler(cell.truth, cell.means[0], cell.unit)
    counts = bootstrap_counts(cell.n_units, resamples, np.random.default_rng(seed))
    drawn = np.concatenate([ranks.correlations(chunk) for chunk in counts])
    low, high = interval(np.array([cell.value("spearman")]), drawn[:, None], None, confidence)
    return float(low[0]), float(high[0])


def _known(names: Iterable[str], among: Iterable[str]) -> list[str]:
    wanted, known = list(names), list(among)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(known)}")
    return wanted


def seed_of(rng: np.random.Generator | int) -> int:
    """One seed for all blocks, so that resamples depend on a block's groups and not on the other blocks."""
    return int(np.random.default_rng(rng).integers(2**63))
