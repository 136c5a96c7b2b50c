"""Cross-domain calibration of means: a scale and a shift per axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.calibration import files
from emofuse.errors import ConfigError

FORMAT, VERSION = "emofuse.cross_domain_calibration", 1


@dataclass(eq=False)
class CrossDomainCalibration:
    """`m -> s m + b` per axis, or `tanh(s m + b)`; the identity until a trainer has fitted it.

    Attributes:
        l2_reg: the penalty that shrinks s to 1 and b to 0 in fitting.
        use_tanh: squash into (-1, 1), in fitting and in serving alike.
        scale_v: s of valence.
        scale_a: s of arousal.
        shift_v: b of valence, reference units.
        shift_a: b of arousal, reference units.
        loss: what it was fitted for, "mse", "mae" or "ccc"; None until then.
    """

    l2_reg: float = 1e-4
    use_tanh: bool = False
    scale_v: float = 1.0
    scale_a: float = 1.0
    shift_v: float = 0.0
    shift_a: float = 0.0
    loss: str | None = None

    kind = "affine"

    def __post_init__(self) -> None:
        if not self.l2_reg >= 0:
            raise ConfigError(f"l2_reg must be 0 or more; got {self.l2_reg}")

    @property
    def scale(self) -> np.ndarray:
        """s of valence and arousal, (2,)."""
        return np.array([self.scale_v, self.scale_a])

    @property
    def shift(self) -> np.ndarray:
        """b of valence and arousal, (2,)."""
        return np.array([self.shift_v, self.shift_a])

    def set(self, axis: int, scale: float, shift: float) -> None:
        """Take over the parameters of one axis (0 valence, 1 arousal)."""
        if axis == 0:
            self.scale_v, self.shift_v = float(scale), float(shift)
        else:
            self.scale_a, self.shift_a = float(scale), float(shift)

    def is_near_identity(self, tolerance: float = 0.05) -> bool:
        """Whether every scale is within `tolerance` of 1 and every shift of 0 (the squash not counted)."""
        return bool(max(np.abs(self.scale - 1).max(), np.abs(self.shift).max()) <= tolerance)

    def parameters(self) -> dict[str, float]:
        """The four fitted numbers by name."""
        return {name: getattr(self, name) for name in ("scale_v", "scale_a", "shift_v", "shift_a")}

    def apply(self, mean: ArrayLike, variance: ArrayLike | None = None) -> Any:
        """Calibrated means, with their variances if given.

        Args:
            mean: (..., 2), reference scale; NaN stays NaN.
            variance: (..., 2); becomes `s^2 v`, with tanh `s^2 v (1 - tanh^2)^2` (delta method).

        Returns:
            The means, or (means, variances).
        """
        linear = self.scale * np.asarray(mean, dtype=np.float64) + self.shift
        moved = np.tanh(linear) if self.use_tanh else linear
        if variance is None:
            return moved
        slope = self.scale * (1 - moved**2 if self.use_tanh else 1.0)
        return moved, slope**2 * np.asarray(variance, dtype=np.float64)

    __call__ = apply

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {
            "kind": self.kind,
            "l2_reg": self.l2_reg,
            "use_tanh": self.use_tanh,
            "loss": self.loss,
            **self.parameters(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> CrossDomainCalibration:
        """The inverse of `to_dict`."""
        named = {name: float(content[name]) for name in ("l2_reg", "scale_v", "scale_a", "shift_v", "shift_a")}
        return cls(use_tanh=bool(content["use_tanh"]), loss=content["loss"], **named)

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        files.write(path, FORMAT, VERSION, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> CrossDomainCalibration:
        """Read what `save` wrote; it serves exactly as it was trained.

        Raises:
            DataError: if the file is another, damaged, or of an unknown version.
        """
        return files.rebuild(str(path), cls.from_dict, files.read(path, FORMAT, VERSION))
