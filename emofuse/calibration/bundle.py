"""All that was fitted on valid, in one file: `calibration.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emofuse.affect import AXES
from emofuse.calibration import files
from emofuse.calibration.conformal import ConformalIntervals
from emofuse.calibration.intervals import intervals
from emofuse.calibration.means import MeanLayer
from emofuse.calibration.per_axis import VarianceOfEachAxis, mean_from_dict, variance_from_dict
from emofuse.calibration.variance import VarianceLayer
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.errors import ConfigError, DataError
from emofuse.fusion.fused_variance import FusedScale
from emofuse.fusion.inputs import with_pooled
from emofuse.fusion.joint_parameters import JointParameters
from emofuse.fusion.parameters import FOR_SQUARED_ERROR, IDENTITY, FusionParameters
from emofuse.fusion.stacking import Stack
from emofuse.tables.hashes import are_packed
from emofuse.tables.schema import EXPERTS

FORMAT, VERSION = "emofuse.calibration", 4


@dataclass(frozen=True, eq=False)
class ExpertCalibration:
    """One expert's corrections.

    Attributes:
        mean: the mean calibration.
        variance: the variance recalibration, after the means; None where no variance was ever known.
        pooled: (2,), the mean squared error of the calibrated means, for unknown variances.
        conformal: intervals for the corrected means and variances, pooled ones with them.
        card: what the expert was (name, weights), as its predictions said; empty where they did not.
    """

    mean: MeanLayer
    variance: VarianceLayer | VarianceOfEachAxis | None
    pooled: np.ndarray
    conformal: ConformalIntervals | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def apply(self, mean: ArrayLike, variance: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Calibration.apply`."""
        m, v = self.mean.apply(mean, variance)
        v = np.where(np.isfinite(v) & (v > 0), v, np.nan)
        v = np.full_like(v, np.nan) if self.variance is None else self.variance.apply(v)
        return m, *with_pooled(m, v, self.pooled)

    def to_dict(self) -> dict[str, Any]:
        """Everything that serving it needs."""
        return {
            "mean": self.mean.to_dict(),
            "variance": None if self.variance is None else self.variance.to_dict(),
            "pooled": self.pooled,
            "conformal": None if self.conformal is None else self.conformal.to_dict(),
            "card": self.card,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ExpertCalibration:
        """The inverse of `to_dict`."""
        mean, variance, conformal = content["mean"], content["variance"], content["conformal"]
        return cls(
            mean_from_dict(mean),
            None if variance is None else variance_from_dict(variance),
            files.numbers(content["pooled"]),
            None if conformal is None else ConformalIntervals.from_dict(conformal),
            dict(content["card"]),
        )


@dataclass(frozen=True)
class FittedOn:
    """The rows a calibration was fitted on.

    Attributes:
        split: always "valid" for one that a job fitted.
        fingerprint: of the predictions.
        rows: with a label and any prediction.
        groups: among these rows.
        ids: of the rows, their `hashed` packed.
    """

    split: str
    fingerprint: str
    rows: int
    groups: int
    ids: str = ""


def hashed(ids: Iterable[str]) -> list[str]:
    """SHA-256 of each row id, in hexadecimal."""
    return [hashlib.sha256(each.encode(errors="surrogatepass")).hexdigest() for each in ids]


@dataclass(frozen=True, eq=False)
class Calibration:
    """All that was fitted on valid.

    Attributes:
        experts: "scene", "face": their corrections.
        joint: what is known of the two experts together; None where they were never both there.
        weights: (2, 2), constant weights, experts first; None where they were never both there.
        stack: the regression on both experts; None where too few rows had both.
        fusion: the method and gates chosen on valid.
        config: by expert, how it was fitted.
        fitted_on: the rows.
        scales: by rule, the scale of its fused variance.
        conformal: intervals of what is fused, by kind of row: "scene", "face" (that expert alone), "both".
    """

    experts: dict[str, ExpertCalibration]
    joint: JointParameters | None
    weights: np.ndarray | None
    stack: Stack | None
    fusion: FusionConfig
    config: dict[str, CalibrationConfig]
    fitted_on: FittedOn
    scales: dict[str, FusedScale] = field(default_factory=dict)
    conformal: dict[str, ConformalIntervals] = field(default_factory=dict)

    def apply(self, expert: str, mean: ArrayLike, variance: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One expert's predictions, corrected.

        Args:
            expert: "scene" or "face".
            mean: (..., 2), as predicted; NaN = no prediction.
            variance: (..., 2), as predicted; NaN, 0, negative, infinite = unknown.

        Returns:
            Means, variances, and where each variance comes from: "model", "pooled" or "none"; all (..., 2).

        Raises:
            ConfigError: if it was not fitted for that expert, and the expert has a prediction.
        """
        if expert not in self.experts:
            m = np.asarray(mean, dtype=np.float64)
            if not np.isfinite(m).any():
                return m, np.full_like(m, np.nan), np.full(m.shape, "none")
            raise ConfigError(f"this calibration was fitted for {', '.join(self.experts)}, not for {expert!r}")
        return self.experts[expert].apply(mean, variance)

    def fusion_parameters(self) -> FusionParameters:
        """What is known of the experts, as `emofuse.fusion.fuse` takes it."""
        nothing = np.full(2, np.nan)
        pooled = np.stack([self.experts[name].pooled if name in self.experts else nothing for name in EXPERTS])
        estimated = self.joint is not None and not self.joint.assumed.any()
        return FusionParameters(
            "calibration" if estimated else "assumed correlation",
            self.joint,
            "joint_gaussian" if self.joint is not None and self._for_squared_error else "best_linear_unbiased",
            pooled,
            self.weights,
            self.stack,
            self.scales,
        )

    @property
    def _for_squared_error(self) -> bool:
        """Whether every mean, as corrected, is that of least squared error."""
        for name, expert in self.experts.items():
            for kind, loss, _ in map(self.config[name].mean_of, range(len(AXES))):
                # What is left as it was is of the loss that the expert itself was fitted for.
                said = expert.card.get("loss") if kind == "identity" else loss
                if kind == "ordinal" or said not in FOR_SQUARED_ERROR:
                    return False
        return True

    def intervals(
        self, mean: ArrayLike, variance: ArrayLike, present: ArrayLike, level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Conformal intervals of what was fused by the rule and gates that this calibration holds.

        Args:
            mean: (N, 2), fused.
            variance: (N, 2), fused, before any filter over a sequence.
            present: bool (2, N), whether scene and face take part, gates shut.
            level: the coverage that is asked for, .5 to .99; the least fitted one that is not below it is served.

        Returns:
            Lower and upper ends, (N, 2), within [-1, 1]; NaN where nothing is fused.

        Raises:
            ConfigError: if the level lies outside those that were fitted.
        """
        return intervals(mean, variance, present, self.conformal, level)

    def check_experts(self, cards: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Refuse predictions of other experts than those it was fitted for.

        Args:
            cards: by expert, as the predictions' metadata has them; what a card does not say is not compared.

        Raises:
            DataError: naming the expert and what differs.
        """
        for name, expert in self.experts.items():
            card = cards.get(name) or {}
            for key in IDENTITY:
                fitted, given = expert.card.get(key), card.get(key)
                if fitted is not None and given is not None and fitted != given:
                    raise DataError(
                        f"the calibration was fitted for a {name} expert with {key} {fitted!r}, not {given!r}"
                    )

    def in_sample(self, ids: Iterable[str]) -> np.ndarray:
        """Which rows it was fitted on, by their ids, whatever split they are in now: bool (N,)."""
        return are_packed(self.fitted_on.ids, hashed(ids))

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        content = {
            "experts": {name: expert.to_dict() for name, expert in self.experts.items()},
            "joint": None if self.joint is None else self.joint.to_dict(),
            "weights": self.weights,
            "stack": None if self.stack is None else self.stack.to_dict(),
            "fusion": asdict(self.fusion),
            "config": {name: asdict(each) for name, each in self.config.items()},
            "fitted_on": asdict(self.fitted_on),
            "scales": {name: each.to_dict() for name, each in self.scales.items()},
            "conformal": {name: each.to_dict() for name, each in self.conformal.items()},
        }
        files.write(path, FORMAT, VERSION, content)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            DataError: if the file is absent, another, damaged, or of an unknown version.
        """
        return files.rebuild(str(path), cls._from_dict, files.read(path, FORMAT, VERSION))

    @classmethod
    def _from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        experts = {name: ExpertCalibration.from_dict(each) for name, each in content["experts"].items()}
        weights = None if content["weights"] is None else files.numbers(content["weights"])
        if weights is not None and weights.shape != (2, 2):
            raise DataError(f"expected weights (2, 2); got {weights}")
        return cls(
            experts,
            None if content["joint"] is None else JointParameters.from_dict(content["joint"]),
            weights,
            None if content["stack"] is None else Stack.from_dict(content["stack"]),
            FusionConfig(**content["fusion"]),
            {name: _config(each) for name, each in content["config"].items()},
            FittedOn(**content["fitted_on"]),
            {name: FusedScale.from_dict(each) for name, each in content["scales"].items()},
            {name: ConformalIntervals.from_dict(each) for name, each in content["conformal"].items()},
        )


def _config(content: Mapping[str, Any]) -> CalibrationConfig:
    # JSON has a pair, valence and arousal, as a list.
    return CalibrationConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})
