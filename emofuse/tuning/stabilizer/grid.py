"""The configurations of a sweep: parameters of each filter, as arrays that an update takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from emofuse.config import FusionConfig, StabilizerConfig, SweepConfig
from emofuse.stabilizer.sweeps import per_configuration
from emofuse.stabilizer.tuned import GATES
from emofuse.stabilizer.updates import FilterUpdate, filter_update


@dataclass(frozen=True)
class Grid:
    """Configurations of one filter.

    Attributes:
        filter: its name; "none" for doing nothing.
        rows: one for each configuration, the options it differs in, and `threshold_quantile` or `process_scale` where
            a value was found that way.
    """

    filter: str
    rows: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, size: int) -> Iterator[Grid]:
        """The same in parts of at most `size`."""
        for start in range(0, len(self), size):
            yield Grid(self.filter, self.rows[start : start + size])

    def configs(self, base: StabilizerConfig) -> list[StabilizerConfig]:
        """The configurations as options."""
        found = ("threshold_quantile", "process_scale")
        return [
            replace(base, filter=self.filter, **{k: v for k, v in row.items() if k not in found})  # type: ignore[arg-type]
            for row in self.rows
        ]

    def update(self, base: StabilizerConfig) -> FilterUpdate:
        """All configurations as one update, parameters of shape (C, 1, ·)."""
        configs = self.configs(base)

        def parameter(name: str) -> np.ndarray | None:
            if getattr(base, name) is None:
                return None
            # One column for both axes where they agree, so that shapes stay small.
            values = np.array([np.broadcast_to(getattr(config, name), 2) for config in configs], dtype=np.float64)
            return per_configuration(values[:, 0] if (values[:, 0] == values[:, 1]).all() else values)

        return filter_update(self.filter, parameter)


def filter_grids(sweep: SweepConfig, variance: np.ndarray, process_variance: np.ndarray) -> list[Grid]:
    """Every filter's configurations, and doing nothing.

    Args:
        sweep: what to try.
        variance: (N, 2), the fused variances that threshold quantiles are taken of.
        process_variance: (2,), the likeliest.
    """
    thresholds: list[dict[str, Any]] = [{"uncertainty_threshold": value} for value in sweep.threshold]
    for q in sweep.threshold_quantile:
        pair = np.nanquantile(variance, q, axis=0)
        thresholds.append({"uncertainty_threshold": tuple(map(float, pair)), "threshold_quantile": q})
    ema = [{"alpha": alpha, **threshold} for alpha, threshold in product(sweep.alpha, thresholds)]
    kalman = [
        {"process_variance": tuple(float(q) for q in scale * process_variance), "process_scale": scale}
        for scale in sweep.process_scale
    ]
    euro = [{"min_cutoff": cutoff, "beta": beta} for cutoff, beta in product(sweep.min_cutoff, sweep.beta)]
    of = {"ema": ema, "soft_ema": ema, "kalman": kalman, "one_euro": euro}
    return [Grid("none", [{}]), *(Grid(name, of[name]) for name in sweep.filters)]


def fusion_grid(sweep: SweepConfig, base: FusionConfig) -> list[FusionConfig]:
    """The fusion with every combination of its gates, the first with none."""
    levels = [(None, *getattr(sweep, gate)) for gate in GATES]
    return [replace(base, **dict(zip(GATES, values, strict=True))) for values in product(*levels)]
