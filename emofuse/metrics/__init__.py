"""Measures of accuracy, uncertainty and stability, and what may be concluded from them.

Arrays are (N,) for one axis or (N, 2) for both, in the order truth, mean, variance; a result has the axes
that went in. Rows that lack a value on an axis are left out of that axis.

>>> from emofuse.metrics import mae
>>> mae([0.0, 1.0], [0.5, 1.0])
0.25
"""

from emofuse.metrics.accuracy import HIGHER_IS_BETTER, METRICS, bias, concordance, mae, pearson, rmse, sagr, spearman
from emofuse.metrics.stability import (
    hold_rate,
    jitter,
    jitter_reduction,
    lag,
    noise_variance,
    response_time,
    rms_jitter,
    step_response,
    window_variance,
)
from emofuse.metrics.uncertainty import (
    constant_variance,
    coverage,
    crps,
    ence,
    interval_width,
    mean_squared_z,
    miscalibration_area,
    nll,
    reliability_curve,
    risk_coverage,
    sharpness,
    sigma_error_spearman,
    uncertainty_metrics,
)

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "bias",
    "concordance",
    "constant_variance",
    "coverage",
    "crps",
    "ence",
    "hold_rate",
    "interval_width",
    "jitter",
    "jitter_reduction",
    "lag",
    "mae",
    "mean_squared_z",
    "miscalibration_area",
    "nll",
    "noise_variance",
    "pearson",
    "reliability_curve",
    "response_time",
    "risk_coverage",
    "rms_jitter",
    "rmse",
    "sagr",
    "sharpness",
    "sigma_error_spearman",
    "spearman",
    "step_response",
    "uncertainty_metrics",
    "window_variance",
]
