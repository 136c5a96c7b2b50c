"""A data set's units and the reference scale [-1, 1]; explicit, never guessed from values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.errors import ConfigError, DataError


@dataclass(frozen=True)
class Scale:
    """The published range of a data set's ratings, per axis.

    Attributes:
        name: how the scale is called on the command line and in metadata.
        low: the least rating of (valence, arousal) in source units; maps to -1.
        high: the greatest rating of (valence, arousal) in source units; maps to +1.
        source: where the range is stated.
    """

    name: str
    low: tuple[float, float]
    high: tuple[float, float]
    source: str

    def _axis(self, axis: str | None) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array(self.low), np.array(self.high)
        if axis is None:
            return (low + high) / 2, (high - low) / 2
        if axis not in AXES:
            raise ConfigError(f"axis must be one of {', '.join(AXES)}; got {axis!r}")
        i = AXES.index(axis)
        return (low[i] + high[i]) / 2, (high[i] - low[i]) / 2

    def to_reference(self, values: ArrayLike, axis: str | None = None, *, check: bool = True) -> np.ndarray:
        """Ratings in source units as reference units.

        Args:
            values: any shape for one `axis`; shape (..., 2) where `axis` is None.
            axis: "valence", "arousal", or None for both on the last axis.
            check: refuse values outside the range, as ratings must not be; predictions may leave it.

        Raises:
            DataError: if a finite value lies outside the published range (a wrong scale, not a rounding).
        """
        centre, half = self._axis(axis)
        reference = (np.asarray(values, dtype=np.float64) - centre) / half
        if not check:
            return reference
        outside = np.isfinite(reference) & (np.abs(reference) > 1 + 1e-6)
        if outside.any():
            worst = np.asarray(values, dtype=np.float64)[outside][0]
            raise DataError(
                f"{int(outside.sum())} value(s) outside the {self.name} scale "
                f"({', '.join(f'{a} {lo:g}…{hi:g}' for a, lo, hi in zip(AXES, self.low, self.high, strict=True))}), "
                f"first {worst:g}: is it another scale? Known: {', '.join(SCALES)}"
            )
        return np.clip(reference, -1, 1)

    def from_reference(self, values: ArrayLike, axis: str | None = None) -> np.ndarray:
        """Reference units as source units; the inverse of `to_reference`, without its range check."""
        centre, half = self._axis(axis)
        return np.asarray(values, dtype=np.float64) * half + centre

    def spread_to_reference(self, values: ArrayLike, axis: str | None = None) -> np.ndarray:
        """Standard deviations in source units as reference units (scaled, not shifted)."""
        return np.asarray(values, dtype=np.float64) / self._axis(axis)[1]


def _same(name: str, low: float, high: float, source: str) -> Scale:
    return Scale(name, (low, low), (high, high), source)


SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        _same("reference", -1, 1, "emofuse"),
        _same("unit", 0, 1, "ratings given as fractions"),
        _same("sam9", 1, 9, "Self-Assessment Manikin, nine points (Bradley & Lang 1994)"),
        Scale("findingemo", (-3, 0), (3, 6), "FindingEmo (Mertens et al. 2024)"),
        _same("oasis", 1, 7, "OASIS (Kurdi, Lozano & Banaji 2017)"),
        _same("emotic", 1, 10, "EMOTIC (Kosti et al. 2017)"),
        _same("affectnet", -1, 1, "AffectNet (Mollahosseini et al. 2017)"),
        _same("afewva", -10, 10, "AFEW-VA (Kossaifi et al. 2017)"),
        _same("affwild2", -1, 1, "Aff-Wild2 (Kollias & Zafeiriou 2019)"),
        _same("veatic", -1, 1, "VEATIC (Ren et al. 2024)"),
    )
}


def scale(name: str) -> Scale:
    """The scale of that name.

    Raises:
        ConfigError: if there is none; the message lists those there are.
    """
    try:
        return SCALES[name]
    except KeyError:
        raise ConfigError(f"unknown scale {name!r}; known: {', '.join(SCALES)}") from None
