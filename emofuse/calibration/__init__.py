"""Calibration of means and variances, and its evaluation; everything is fitted on the valid split."""

from emofuse.calibration.agreement import BlandAltman, bland_altman
from emofuse.calibration.bundle import Calibration, ExpertCalibration
from emofuse.calibration.conformal import ConformalIntervals
from emofuse.calibration.cross_domain import CrossDomainCalibration
from emofuse.calibration.evaluator import CalibrationEvaluator
from emofuse.calibration.fitting import fit_calibration
from emofuse.calibration.means import fit_mean
from emofuse.calibration.response import ResponseVariance
from emofuse.calibration.trainer import CalibrationFit, CalibrationTrainer
from emofuse.calibration.variance import (
    AffineVariance,
    ConstantVariance,
    IsotonicVariance,
    VarianceScaling,
    pooled_variance,
)

__all__ = [
    "AffineVariance",
    "BlandAltman",
    "Calibration",
    "CalibrationEvaluator",
    "CalibrationFit",
    "CalibrationTrainer",
    "ConformalIntervals",
    "ConstantVariance",
    "CrossDomainCalibration",
    "ExpertCalibration",
    "IsotonicVariance",
    "ResponseVariance",
    "VarianceScaling",
    "bland_altman",
    "fit_calibration",
    "fit_mean",
    "pooled_variance",
]
