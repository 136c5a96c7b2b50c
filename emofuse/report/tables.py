"""The tables of systems and metrics, for the page and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from emofuse.report.run_folder import headline_split

SYSTEM_NAMES = {
    "fused": "Fusion",
    "scene": "Scene alone",
    "face": "Face alone",
    "equal": "Equal weights",
    "inverse_variance": "Inverse variance",
    "fixed_60_40": "Fixed 0.6 / 0.4",
    "constant_weight": "Fitted weight",
    "smoothed": "Fusion, smoothed",
    "scene_raw": "Scene, raw",
    "face_raw": "Face, raw",
    "fused_raw": "Fusion, raw",
    "constant_mean": "Constant (mean)",
    "constant_median": "Constant (median)",
    "ceiling": "Perfect model (limit)",
    "one_rater": "One human rater",
}
METRIC_NAMES = {
    "mae": "MAE",
    "rmse": "RMSE",
    "ccc": "CCC",
    "pearson": "Pearson r",
    "spearman": "Spearman ρ",
    "sagr": "SAGR",
    "bias": "Bias",
    "nll": "NLL",
    "crps": "CRPS",
    "zms": "ZMS",
    "ence": "ENCE",
    "ence_expected": "ENCE if perfect",
    "miscalibration_area": "Miscal. area",
    "sharpness": "Sharpness",
    "coverage_50": "50 % cov.",
    "coverage_68": "68 % cov.",
    "coverage_90": "90 % cov.",
    "coverage_95": "95 % cov.",
    "sigma_error_spearman": "ρ(σ, |error|)",
    "jitter": "Jitter",
    "jitter_reduction": "Jitter reduction",
    "noise_variance": "Noise variance",
    "window_variance": "Window variance",
    "hold_rate": "Hold rate",
    "response_time": "Response time",
    "lag": "Lag",
}
ACCURACY = ("mae", "rmse", "ccc", "pearson", "spearman", "sagr", "bias")
UNCERTAINTY = (
    "nll",
    "crps",
    "zms",
    "ence",
    "ence_expected",
    "miscalibration_area",
    "sharpness",
    "coverage_50",
    "coverage_68",
    "coverage_90",
    "coverage_95",
    "sigma_error_spearman",
)
STABILITY = ("jitter", "jitter_reduction", "noise_variance", "window_variance", "hold_rate", "response_time", "lag")
CORRELATIONS = ("ccc", "pearson", "spearman", "sigma_error_spearman")
MIN_CORRELATED = 5
"""Correlations of fewer images than this are left out of the table."""
STAND_INS = "The ratings here are stand-ins, few, and for demonstration only."
SUBSET_NAMES = {"all": "all images", "face": "images where a face was used", "no_face": "images without a face"}
HUMAN = ("ceiling", "one_rater")
"""What the labels themselves allow, and one rater against the mean of the others: no systems that were run."""


@dataclass(frozen=True)
class Estimate:
    """One value of the metrics table with its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float
    n: int
    n_groups: int
    n_effective_groups: float


@dataclass(frozen=True)
class Row:
    """One system of a table: `cells` stand in the order of the table's metrics, None where nothing was measured."""

    system: str
    name: str
    cells: tuple[Estimate | None, ...]
    n: int
    n_groups: int
    n_effective_groups: float


@dataclass(frozen=True)
class SystemsTable:
    """The systems of one axis and one subset, side by side."""

    axis: str
    subset: str
    split: str
    in_sample: bool
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]


def system_name(system: str) -> str:
    """A system's display name."""
    return SYSTEM_NAMES.get(system, system.replace("_", " ").capitalize())


def metric_name(metric: str) -> str:
    """A metric's display name."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def systems(
    metrics: pa.Table,
    axis: str,
    *,
    subset: str = "all",
    split: str | None = None,
    in_sample: bool = False,
    wanted: tuple[str, ...] = ACCURACY,
) -> SystemsTable:
    """Every system's row for one axis, in the order fused, experts, baselines, others.

    Args:
        metrics: a table of `schema.METRICS`.
        axis: "valence" or "arousal".
        subset: "all", "face" or "no_face".
        split: the split; by default the one of the headline.
        in_sample: whether to show the rows an expert was trained on instead of the others.
        wanted: metrics to show; those that no system has are left out.
    """
    split = headline_split(metrics) if split is None else split
    key = (axis, subset, split, in_sample)
    found: dict[str, dict[str, Estimate]] = {}
    for row in metrics.to_pylist():
        if (row["axis"], row["subset"], row["split"], row["in_sample"]) == key:
            value, low, high, effective = (
                _number(row[name]) for name in ("value", "ci_low", "ci_high", "n_effective_groups")
            )
            if row["metric"] in CORRELATIONS and row["n"] < MIN_CORRELATED:
                value = low = high = math.nan
            estimate = Estimate(value, low, high, row["n"], row["n_groups"], effective)
            found.setdefault(row["system"], {})[row["metric"]] = estimate
    shown = tuple(metric for metric in wanted if any(metric in of for of in found.values()))
    order = [*(name for name in SYSTEM_NAMES if name in found), *(name for name in found if name not in SYSTEM_NAMES)]
    rows = tuple(_row(name, found[name], shown) for name in order if any(metric in found[name] for metric in shown))
    return SystemsTable(axis, subset, split, in_sample, shown, rows)


def _row(system: str, of: dict[str, Estimate], shown: tuple[str, ...]) -> Row:
    cells = tuple(of.get(metric) for metric in shown)
    first = next(cell for cell in cells if cell is not None)
    return Row(system, system_name(system), cells, first.n, first.n_groups, first.n_effective_groups)


def decimal(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """A number with a true minus sign; a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: float, high: float, digits: int = 3, *, sign: bool = False) -> str:
    """An interval as `[low, high]`; empty where it is not defined."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{decimal(low, digits, sign=sign)}, {decimal(high, digits, sign=sign)}]"


METRIC_HELP = {
    "mae": "mean absolute error, reference units; lower is better",
    "rmse": "root mean square error, reference units; lower is better",
    "ccc": "concordance correlation (Lin 1989, 1/n): 1 is perfect, a constant has 0; higher is better",
    "pearson": "linear correlation; not defined for a constant; higher is better",
    "spearman": "rank correlation; not defined for a constant; higher is better",
    "sagr": "share of images with the right sign; higher is better",
    "bias": "mean of prediction minus rating, reference units; 0 is best",
    "nll": "mean negative log-likelihood of a normal distribution, nats; lower is better",
    "crps": "continuous ranked probability score, reference units; lower is better",
    "zms": "mean squared z-score: 1 is calibrated, above it overconfident, below it underconfident",
    "ence": "expected normalised calibration error over bins of predicted deviation; compare with the next column",
    "ence_expected": "the ENCE that a perfectly calibrated model has with this many images",
    "miscalibration_area": "area between nominal and observed coverage, 0 to 0.5; lower is better",
    "sharpness": "root mean predicted variance, reference units",
    "coverage_50": "share of ratings inside the 50 % interval; 0.50 is calibrated",
    "coverage_68": "share of ratings inside the 68 % interval; 0.68 is calibrated",
    "coverage_90": "share of ratings inside the 90 % interval; 0.90 is calibrated",
    "coverage_95": "share of ratings inside the 95 % interval; 0.95 is calibrated",
    "sigma_error_spearman": "rank correlation of predicted deviation and absolute error; higher is better",
    "jitter": "mean absolute step per frame, reference units; lower is steadier, and a frozen output has none",
    "jitter_reduction": "1 − jitter after / jitter before",
    "noise_variance": "half the mean squared step, reference units squared",
    "window_variance": "mean variance within a window: signal and noise together, not to be optimised",
    "hold_rate": "share of frames the gate held",
    "response_time": "frames to 90 % of a synthetic step; lower is faster",
    "lag": "frames the output runs behind; lower is faster",
}
"""What each metric is, its unit, and which way is good."""
