"""Which rows and groups each system is evaluated on, and which systems can share their resamples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.metrics.accuracy import METRICS
from emofuse.metrics.axes import columns
from emofuse.metrics.resampling.sums import Cell, group_numbers, resampling_units

_SUMS_ENTRIES = 4_000_000


@dataclass(frozen=True, eq=False)
class SystemCell:
    """One system, or a pair of them, on one axis: its complete rows, and which groups those belong to.

    Attributes:
        systems: one name, or two of a pair.
        axis: "valence" or "arousal".
        truth: shape (n,).
        means: one for each system, (n,) like `truth`.
        n_groups: groups with a row.
        unit: each row's unit of resampling, (n,): its group, or a bundle of very many.
        n_units: how many there are.
        present: the groups with a row, as bytes; cells of equal bytes are resampled together.
    """

    systems: tuple[str, ...]
    axis: str
    truth: np.ndarray
    means: tuple[np.ndarray, ...]
    n_groups: int
    unit: np.ndarray
    n_units: int
    present: bytes

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.truth)

    def side(self, i: int) -> Cell:
        """What `SummedMetrics` takes of system `i`."""
        return self.truth, self.means[i], self.unit

    def value(self, metric: str) -> float:
        """The metric of the one system, or that of the first less that of the second."""
        values = [METRICS[metric](self.truth, mean) for mean in self.means]
        return float(values[0] if len(values) == 1 else values[0] - values[1])


def cells_of(
    truth: ArrayLike, systems: Mapping[tuple[str, ...], Sequence[ArrayLike]], groups: ArrayLike | None
) -> list[SystemCell]:
    """The cells of some systems or pairs, system by system, valence before arousal.

    Args:
        truth: shape (N, 2), NaN where there is no label.
        systems: names, and as many means of shape (N, 2), NaN where there is no prediction.
        groups: names, shape (N,); None: every row is its own group.

    Raises:
        ValueError: if the shapes are not these.
    """
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
            units = resampling_units(group, len(present))
            cells.append(SystemCell(names, axis, y[complete, i], rows, len(present), *units, present.tobytes()))
    return cells


def blocks(cells: list[SystemCell]) -> Iterator[list[SystemCell]]:
    """Cells of the same groups together, as many as memory is meant to hold; those of one group are left out."""
    same: dict[bytes, list[SystemCell]] = {}
    for cell in cells:
        if cell.n_groups > 1:
            same.setdefault(cell.present, []).append(cell)
    for block in same.values():
        step = max(1, _SUMS_ENTRIES // (10 * block[0].n_units))
        yield from (block[start : start + step] for start in range(0, len(block), step))
