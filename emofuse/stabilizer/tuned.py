"""The stabilizer that a sweep chose, with the rows it was chosen on: they are no longer held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.calibration import files
from emofuse.calibration.bundle import FittedOn, hashed
from emofuse.config import EvaluationConfig, FusionConfig, StabilizerConfig
from emofuse.errors import ConfigError
from emofuse.tables.hashes import are_packed, pack_hashes

FORMAT, VERSION = "emofuse.stabilizer", 1
GATES = ("min_face_score", "max_face_std", "min_luma")
"""Options of the fusion that are chosen together with the filter."""


@dataclass(frozen=True)
class TunedStabilizer:
    """What a sweep of the stabilizer chose.

    Attributes:
        options: of the stabilizer.
        gates: of the fusion before it, `GATES`; None = no gate.
        fitted_on: the rows it was chosen on.
    """

    options: StabilizerConfig
    gates: dict[str, Any]
    fitted_on: FittedOn

    @classmethod
    def of(cls, options: StabilizerConfig, fusion: FusionConfig, ids: Sequence[str], **rows: Any) -> TunedStabilizer:
        """These options, chosen on the rows with these ids; `rows` tells the rest of `FittedOn`."""
        gates = {name: getattr(fusion, name) for name in GATES}
        return cls(options, gates, FittedOn(**rows, rows=len(ids), ids=pack_hashes(hashed(ids))))

    def in_sample(self, ids: Iterable[str]) -> np.ndarray:
        """Which rows it was chosen on, by their ids, whatever split they are in now: bool (N,)."""
        return are_packed(self.fitted_on.ids, hashed(ids))

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        files.write(path, FORMAT, VERSION, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> TunedStabilizer:
        """Read what `save` wrote.

        Raises:
            DataError: if the file is absent, another, damaged, or of an unknown version.
        """
        return files.rebuild(str(path), cls._from_dict, files.read(path, FORMAT, VERSION))

    @classmethod
    def _from_dict(cls, content: dict[str, Any]) -> TunedStabilizer:
        options: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in content["options"].items()
        }
        if options["uncertainty_threshold"] is None:
            options["uncertainty_threshold"] = np.inf  # which JSON lacks
        gates = {name: content["gates"][name] for name in GATES}
        return cls(StabilizerConfig(**options), gates, FittedOn(**content["fitted_on"]))


def with_tuned(config: EvaluationConfig) -> tuple[EvaluationConfig, TunedStabilizer | None]:
    """The options with those that `stabilizer.file` holds in place, and what the file tells; both as they are without.

    The gates of the file hold beside every fusion: `replace(fusion, **tuned.gates)`.

    Raises:
        ConfigError: if options are given beside the file that it holds.
        DataError: if the file cannot be read.
    """
    if config.stabilizer.file is None:
        return config, None
    tuned = TunedStabilizer.load(config.stabilizer.file)
    beside = [f"stabilizer.{name}" for name in _given(replace(config.stabilizer, file=None))]
    beside += [f"fusion.{name}" for name in _given(config.fusion) if name in GATES]
    if beside:
        raise ConfigError(f"{', '.join(beside)} cannot be given beside stabilizer.file, which holds these options")
    return replace(config, stabilizer=tuned.options), tuned


def _given(config: StabilizerConfig | FusionConfig) -> list[str]:
    return [each.name for each in fields(config) if getattr(config, each.name) != each.default]
