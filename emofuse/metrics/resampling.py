"""Whole tables of metrics with intervals: all systems, both axes, thousands of resamples of groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.axes import columns
from emofuse.metrics.intervals import Method, bootstrap_counts, interval
from emofuse.metrics.permutations import p_values, swaps
from emofuse.metrics.ranks import RankResampler
from emofuse.metrics.sums import SUMMABLE, Cell, SummedMetrics, group_numbers

COMPARED = ("mae", "rmse", "ccc", "pearson", "sagr")
"""The metrics in which two systems are compared; a difference of signed biases says nothing."""
_SUMS_ENTRIES = 4_000_000


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
    """metric(a) - metric(b) on the rows that both judge, its interval, and p of the two-sided permutation test."""

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

    Each system is judged on the rows it has; those that have rows of the same groups see the same resamples.

    Args:
        truth: labels, (N, 2), NaN where there is none.
        systems: means by name, each (N, 2), NaN where there is no opinion.
        groups: names, shape (N,); None: every row is its own group.
        metrics: names of `accuracy.METRICS`.
        resamples: how many; 0 for no intervals.
        confidence: of the two-sided intervals.
        method: "BCa" (percentile where that is undefined) or "percentile".
        spearman_resamples: at most so many for Spearman's correlation, whose intervals are percentile.
        rng: a generator or its seed.

    Returns:
        One row for each system, axis and metric; value NaN and n 0 where a system has no row, no interval
        where there are fewer than two groups.

    Raises:
        ValueError: if shapes do not agree or a metric is unknown.
    """
    names = _known(metrics, METRICS)
    summed = [name for name in names if name in SUMMABLE]
    cells = _cells(truth, {(name,): (mean,) for name, mean in systems.items()}, groups)
    seed, ends = _seed(rng), {}
    for block in _blocks(cells) if resamples else ():
        table = SummedMetrics([[cell.side(0) for cell in block]], block[0].n_groups, summed)
        for key, low, high in _intervals(table, block, summed, resamples, confidence, method, seed):
            ends[key] = (low, high)
        for cell in block if "spearman" in names else ():
            ends[cell.key, "spearman"] = _spearman(cell, min(resamples, spearman_resamples), confidence, seed)
    return [
        MetricRow(
            *cell.key, name, cell.value(name), *ends.get((cell.key, name), (np.nan, np.nan)), cell.n, cell.n_groups
        )
        for cell in cells
        for name in names
    ]


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
    """Pairs of systems compared in every metric on both axes, on the rows that both judge.

    Both systems of a pair see the same resamples of groups, so the interval is that of the paired difference; p is
    of the permutation test that lets them change places within whole groups (`paired_permutation`), not adjusted
    for the number of comparisons: `significance.holm` does that.

    Args:
        pairs: names (a, b) among `systems`.
        metrics: names of `sums.SUMMABLE`: those but Spearman's.
        resamples: of the bootstrap and, where not all swaps can be tried, of the permutation test.
        Others as `metric_table`.

    Returns:
        One row for each pair, axis and metric; NaN where a metric is undefined or there are too few groups.

    Raises:
        ValueError: if shapes do not agree, or a metric or system is unknown.
    """
    names = _known(metrics, SUMMABLE)
    wanted = [tuple(_known(pair, systems)) for pair in pairs]
    cells = _cells(truth, {(a, b): (systems[a], systems[b]) for a, b in wanted}, groups)
    seed, found = _seed(rng), {}
    for block in _blocks(cells):
        table = SummedMetrics([[cell.side(i) for cell in block] for i in (0, 1)], block[0].n_groups, names)
        exact, chunks = swaps(block[0].n_groups, resamples, np.random.default_rng(seed))
        p = p_values(table.observed(), map(table.swapped, chunks), exact=exact)
        ends = _intervals(table, block, names, resamples, confidence, method, seed)
        for (key, low, high), chance in zip(ends, p, strict=True):
            found[key] = (low, high, float(chance))
    return [
        DifferenceRow(
            *cell.key, name, cell.value(name), *found.get((cell.key, name), (np.nan,) * 3), cell.n, cell.n_groups
        )
        for cell in cells
        for name in names
    ]


@dataclass(frozen=True, eq=False)
class _SystemCell:
    """One system, or a pair of them, on one axis: its complete rows, and which groups those belong to.

    Attributes:
        key: the names of the systems, then of the axis.
        means: one for each system, (n,) like `truth`.
        group: each row's group, numbered among those present, (n,).
        present: the groups with a row, as bytes; cells of equal bytes are resampled together.
    """

    key: tuple[str, ...]
    truth: np.ndarray
    means: tuple[np.ndarray, ...]
    group: np.ndarray
    n_groups: int
    present: bytes

    @property
    def n(self) -> int:
        return len(self.truth)

    def side(self, i: int) -> Cell:
        return self.truth, self.means[i], self.group

    def value(self, metric: str) -> float:
        values = [METRICS[metric](self.truth, mean) for mean in self.means]
        return float(values[0] if len(values) == 1 else values[0] - values[1])


def _cells(
    truth: ArrayLike, systems: Mapping[tuple[str, ...], Sequence[ArrayLike]], groups: ArrayLike | None
) -> list[_SystemCell]:
    cells = []
    for names, means in systems.items():
        y, *sides = columns(truth, *means)
        if y.ndim != 2:
            raise ValueError(f"expected both axes, shape (N, 2); got {y.shape}")
        number, _ = group_numbers(groups, len(y))
        for i, axis in enumerate(AXES):
            complete = np.isfinite([x[:, i] for x in (y, *sides)]).all(axis=0)
            present, group = np.unique(number[complete], return_inverse=True)
            rows = tuple(side[complete, i] for side in sides)
            cells.append(_SystemCell((*names, axis), y[complete, i], rows, group, len(present), present.tobytes()))
    return cells


def _blocks(cells: list[_SystemCell]) -> Iterator[list[_SystemCell]]:
    """Cells of the same groups together, as many as memory is meant to hold; those of one group are left out."""
    same: dict[bytes, list[_SystemCell]] = {}
    for cell in cells:
        if cell.n_groups > 1:
            same.setdefault(cell.present, []).append(cell)
    for block in same.values():
        step = max(1, _SUMS_ENTRIES // (10 * block[0].n_groups))
        yield from (block[start : start + step] for start in range(0, len(block), step))


def _intervals(
    table: SummedMetrics,
    block: list[_SystemCell],
    names: Sequence[str],
    resamples: int,
    confidence: float,
    method: Method,
    seed: int,
) -> list[tuple[tuple[tuple[str, ...], str], float, float]]:
    if not names:
        return []
    counts = bootstrap_counts(block[0].n_groups, resamples, np.random.default_rng(seed))
    resampled = np.concatenate([table.weighted(chunk) for chunk in counts])
    jackknife = table.without_each() if method == "BCa" else None
    low, high = interval(table.observed(), resampled, jackknife, confidence)
    keys = [(cell.key, name) for cell in block for name in names]
    return list(zip(keys, low.tolist(), high.tolist(), strict=True))


def _spearman(cell: _SystemCell, resamples: int, confidence: float, seed: int) -> tuple[float, float]:
    ranks = RankResampler(cell.truth, cell.means[0], cell.group)
    counts = bootstrap_counts(cell.n_groups, resamples, np.random.default_rng(seed))
    drawn = np.concatenate([ranks.correlations(chunk) for chunk in counts])
    low, high = interval(np.array([cell.value("spearman")]), drawn[:, None], None, confidence)
    return float(low[0]), float(high[0])


def _known(names: Iterable[str], among: Iterable[str]) -> list[str]:
    wanted, known = list(names), list(among)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(known)}")
    return wanted


def _seed(rng: np.random.Generator | int) -> int:
    # Every block starts from the same seed, so that its resamples depend on its groups and not on other blocks.
    return int(np.random.default_rng(rng).integers(2**63))
