"""The rows on which the options of a stabilizer were chosen: they are no longer held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from emofuse.calibration import files
from emofuse.calibration.bundle import FittedOn, hashed
from emofuse.tables.hashes import are_packed, pack_hashes

FORMAT, VERSION = "emofuse.tuned_on", 1


@dataclass(frozen=True)
class TunedRows:
    """What a sweep of the stabilizer has seen.

    Attributes:
        fitted_on: the rows.
    """

    fitted_on: FittedOn

    @classmethod
    def of(cls, split: str, fingerprint: str, ids: Iterable[str], groups: int) -> TunedRows:
        """The rows with these ids, of so many groups."""
        each = list(ids)
        return cls(FittedOn(split, fingerprint, len(each), groups, pack_hashes(hashed(each))))

    def in_sample(self, ids: Iterable[str]) -> np.ndarray:
        """Which rows were seen, by their ids, whatever split they are in now: bool (N,)."""
        return are_packed(self.fitted_on.ids, hashed(ids))

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        files.write(path, FORMAT, VERSION, {"fitted_on": asdict(self.fitted_on)})

    @classmethod
    def load(cls, path: str | Path) -> TunedRows:
        """Read what `save` wrote.

        Raises:
            DataError: if the file is absent, another, damaged, or of an unknown version.
        """
        content = files.read(path, FORMAT, VERSION)
        return files.rebuild(str(path), lambda each: cls(FittedOn(**each["fitted_on"])), content)
