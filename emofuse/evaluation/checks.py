"""Options that cannot be served, told before a run directory is claimed or an image read."""

from __future__ import annotations

from dataclasses import replace

from emofuse.calibration import Calibration
from emofuse.calibration.conformal import check_level
from emofuse.calibration.served import Cards, constant_variance, known_together
from emofuse.config import EvaluationConfig
from emofuse.fusion.gating import check_gate
from emofuse.fusion.select import check_fusion, chosen_fusion
from emofuse.stabilizer.tuned import with_tuned


def check_evaluation(config: EvaluationConfig, calibration: Calibration | None, cards: Cards | None = None) -> None:
    """Check that the fusion has what was to be fitted for it, and no gate asks for what never changes.

    Args:
        config: the options.
        calibration: the one they name.
        cards: of the experts; without them a fusion is not checked that asks how these were fitted.

    Raises:
        ConfigError: saying what it lacks.
        DataError: if the stabilizer's file cannot be read.
    """
    config, tuned = with_tuned(config)
    if calibration is None and cards is None:
        return
    experts = cards or {}
    fusion = chosen_fusion(config.fusion, calibration.fusion if calibration else None)
    check_gate(replace(fusion, **tuned.gates) if tuned else fusion, constant_variance("face", experts, calibration))
    check_fusion(fusion, known_together(experts, calibration))
    if calibration:
        check_level(config.statistics.confidence)
