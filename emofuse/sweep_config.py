"""What sweeps try; jobs make their command lines of these, as of `emofuse.config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emofuse.config import MeanKind, MeanLoss, VarianceKind


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep of the stabilizer tries; every combination, and doing nothing besides."""

    filters: tuple[Literal["ema", "soft_ema", "kalman", "one_euro"], ...] = ("ema", "soft_ema", "kalman", "one_euro")
    """Filters to compare."""
    alpha: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
    """EMA weights of the new sample."""
    threshold: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Thresholds on the variance."""
    threshold_quantile: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.99)
    """Thresholds as quantiles of the split's fused variance, for each axis by itself."""
    process_scale: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    """Kalman: process variances, as multiples of the likeliest."""
    min_cutoff: tuple[float, ...] = (0.3, 0.5, 1.0, 2.0, 4.0)
    """One-Euro: cutoffs at rest, Hz."""
    beta: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0, 2.0)
    """One-Euro: rises of the cutoff with speed."""
    min_face_score: tuple[float, ...] = (0.6, 0.8)
    """Fusion gate on the detection score, besides none."""
    max_face_std: tuple[float, ...] = (0.3, 0.5)
    """Fusion gate on the face's standard deviation, besides none."""
    min_luma: tuple[float, ...] = (40.0,)
    """Fusion gate on the luma, besides none."""
    step: float = 0.25
    """Height of the step that times a response, reference units; One-Euro follows a higher one sooner."""
    max_response: float = 0.2
    """Without labels: the slowest response to a step that is acceptable, seconds to 90 %."""
    min_coverage: float = 0.95
    """Least share of the fused frames for which a steadied estimate must be given."""


@dataclass(frozen=True)
class CalibrationSweepConfig:
    """What a sweep of the calibration tries: layers for each expert and axis, then rules and gates behind these."""

    means: tuple[MeanKind, ...] = ("identity", "constant", "affine", "linear", "quadratic", "ordinal")
    """Mean calibrations to compare; ordinal where the labels of an axis take few values."""
    losses: tuple[MeanLoss, ...] = ("mae", "mse")
    """Targets of the means; ccc for affine only."""
    l2: tuple[float, ...] = (1e-4, 1e-2, 1e-1)
    """What draws the means to the identity, and ordinal ones to a constant."""
    variances: tuple[VarianceKind, ...] = (
        "none",
        "constant",
        "scaling",
        "affine",
        "isotonic",
    )
    """Variance recalibrations to compare."""
    methods: tuple[
        Literal["inverse_variance", "best_linear_unbiased", "random_effects", "fixed", "equal", "constant", "stacked"],
        ...,
    ] = ("inverse_variance", "best_linear_unbiased", "random_effects", "constant", "stacked")
    """Fusion rules to compare, where both experts speak; fixed and equal are baselines of every judgement anyway."""
    max_weight_ratio: tuple[float, ...] = (2.0, 5.0)
    """Inverse variance: caps on the ratio of the precisions, besides none."""
    min_face_score: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9)
    """Gate on the detection score, besides none."""
    max_face_std: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6)
    """Gate on the face's recalibrated standard deviation, besides none."""
    min_luma: tuple[float, ...] = (40.0, 60.0)
    """Gate on the luma, besides none."""
    objective: Literal["mae", "crps", "nll"] = "mae"
    """What rules and gates are chosen by, mean over both axes: mae, as the verdict | crps | nll. Means are chosen by
    absolute error with mae, else by squared error; variance recalibrations by nll with nll, else by crps."""
    folds: int = 5
    """Grouped folds inside valid."""
