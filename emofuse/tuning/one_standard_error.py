"""The choice of a sweep: of all within one standard error of the least loss, the closest to doing nothing.

Losses are ratios of sums (absolute errors over labelled frames, steps over pairs of frames), of whole bundles of
groups of sequences, (configurations, bundles, axes). Frames of a sequence are alike, so nothing is drawn again but
groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration.rows import group_ids
from emofuse.errors import ConfigError

BUNDLES = 8
"""Sums kept of each fold: more groups are put together, whole, so that the surface stays small."""


@dataclass(frozen=True)
class HeldOut:
    """What choosing gives on sequences that the choice has not seen, beside doing nothing.

    Attributes:
        chosen: loss of what each fold's complement chooses, on the fold.
        plain: loss of doing nothing, on the same frames.
        difference: chosen minus plain.
        standard_error: of the difference, over bundles.
    """

    chosen: float
    plain: float
    difference: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of configurations, summed in bundles.

    Attributes:
        numerator: (C, B, 2).
        denominator: (C, B, 2), what a loss is per: frames or steps.
        fold: (B,), in which a bundle is held out.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    fold: np.ndarray

    def value(self, bundles: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The loss of each configuration over some bundles, mean over axes, (C,); NaN where there is nothing."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.numerator[:, bundles].sum(axis=1) / self.denominator[:, bundles].sum(axis=1)).mean(axis=-1)

    def influence(self, bundles: np.ndarray | slice = slice(None)) -> np.ndarray:
        """What each bundle adds to the loss beyond its share, (C, B); sums to 0.

        Source: the linearised ratio estimate of cluster sampling, Cochran 1977, section 6.4.
        """
        above, below = self.numerator[:, bundles], self.denominator[:, bundles]
        whole = below.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = above.sum(axis=1, keepdims=True) / whole
            return ((above - ratio * below) / whole).mean(axis=-1)

    def choose(
        self, distance: np.ndarray, allowed: np.ndarray, bundles: np.ndarray | slice = slice(None)
    ) -> tuple[int, np.ndarray]:
        """The closest to doing nothing within one standard error of the best, and which are within; -1 if none can be.

        Args:
            distance: (C, K), from doing nothing, the first column first; of equally close ones the best is taken.
            allowed: bool (C,), which may be chosen.
            bundles: on which to choose.

        Source: Breiman et al. 1984, section 3.4.3 (the 1 SE rule).
        """
        value = np.where(allowed, self.value(bundles), np.nan)
        if not np.isfinite(value).any():
            return -1, np.zeros(len(value), dtype=bool)
        best, influence = int(np.nanargmin(value)), self.influence(bundles)
        error, apart = standard_error(influence), standard_error(influence - influence[best])
        within = (value - value[best] <= np.minimum(apart, error[best])) & np.isfinite(value)
        within[best] = True
        rows = np.flatnonzero(within)
        keys = (value[rows], *distance[rows].T[::-1])
        return int(rows[np.lexsort(keys)[0]]), within

    def held_out(self, distance: np.ndarray, allowed: np.ndarray, plain: int) -> HeldOut | None:
        """The loss of choosing, each fold by what the others choose; None with a single fold or without losses.

        Args:
            distance: as for `choose`.
            allowed: as for `choose`.
            plain: the number of the configuration that does nothing.
        """
        folds = [fold for fold in np.unique(self.fold) if self.denominator[plain, self.fold == fold].all(axis=-1).any()]
        if len(folds) < 2:
            return None
        taken = np.full(len(self.fold), plain)
        for fold in folds:
            best, _ = self.choose(distance, allowed, self.fold != fold)
            taken[self.fold == fold] = plain if best < 0 else best
        bundles = np.arange(len(self.fold))
        both = Losses(
            np.stack([self.numerator[taken, bundles], self.numerator[plain]]),
            np.stack([self.denominator[taken, bundles], self.denominator[plain]]),
            self.fold,
        )
        (chosen, nothing), influence = both.value(), both.influence()
        error = standard_error(influence[:1] - influence[1:])[0]
        return HeldOut(float(chosen), float(nothing), float(chosen - nothing), float(error))


def standard_error(influence: np.ndarray) -> np.ndarray:
    """Of each loss, when whole bundles are drawn again, (C,), from `Losses.influence` (C, B); NaN of one bundle."""
    bundles = influence.shape[1]
    if bundles < 2:
        return np.full(len(influence), np.nan)
    return np.sqrt((influence**2).sum(axis=1) * bundles / (bundles - 1))


def assign(groups: ArrayLike, folds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences assigned to bundles, and bundles to folds; neither takes a group apart.

    Args:
        groups: (S,), of each sequence its group.
        folds: how many; fewer where there are fewer groups.
        seed: of the split.

    Returns:
        The bundle of each sequence, (S,), and the fold of each bundle, (B,).

    Raises:
        ConfigError: if there are not two folds or more.
    """
    if folds < 2:
        raise ConfigError(f"sweep.folds must be at least 2; got {folds}")
    number = group_ids(groups, len(np.asarray(groups)))
    count = int(number.max()) + 1
    place = np.random.default_rng(seed).permutation(count) % (min(folds, count) * BUNDLES)
    bundle = np.unique(place, return_inverse=True)[1]
    return bundle[number], np.unique(place) % min(folds, count)
