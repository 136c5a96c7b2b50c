"""Options that cannot be served, told before a run directory is claimed or an image read."""

from __future__ import annotations

from emofuse.calibration import Calibration
from emofuse.config import EvaluationConfig
from emofuse.fusion.select import check_fusion, chosen_fusion
from emofuse.stabilizer.tuned import with_tuned


def check_evaluation(config: EvaluationConfig, calibration: Calibration | None) -> None:
    """Check that the fusion has what was to be fitted for it.

    Raises:
        ConfigError: saying what it lacks.
        DataError: if the stabilizer's file cannot be read.
    """
    with_tuned(config)
    fitted = calibration.fusion_arguments() if calibration else {"weights": None, "stack": None}
    check_fusion(chosen_fusion(config.fusion, calibration.fusion if calibration else None), **fitted)
