"""Phase 1: a calibration is swept, chosen and fitted on valid, and evaluated on test once.

`emofuse.tuning.calibration.run` is the whole of it; trials import this package, and start without that.
"""

from emofuse.tuning.calibration.choice import choose, surface_table
from emofuse.tuning.calibration.grid import Grid, complexity, mean_candidates, rule_grid
from emofuse.tuning.calibration.losses import CrossValidationData
from emofuse.tuning.calibration.sweep import Swept, sweep

__all__ = [
    "CrossValidationData",
    "Grid",
    "Swept",
    "choose",
    "complexity",
    "mean_candidates",
    "rule_grid",
    "surface_table",
    "sweep",
]
