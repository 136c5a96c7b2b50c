"""Figures on the predicted variances: reliability, risk over coverage, agreement before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from emofuse.affect import AXES
from emofuse.calibration.agreement import bland_altman
from emofuse.metrics.reliability import reliability_curve, risk_coverage
from emofuse.report.drawing import INK, MUTED, SYSTEM_LINES, Plot, cells_note, density, draw, per_axis
from emofuse.report.run_folder import RunFolder
from emofuse.report.tables import decimal, system_name
from emofuse.tables.columns import both, texts

MIN_ROWS = 20
"""Curves of fewer rows are noise and are not drawn."""
ExpertPredictions = Mapping[str, tuple[np.ndarray, np.ndarray]]


def plots(run: RunFolder) -> list[Plot]:
    """Reliability and risk-coverage of every run with labels; agreement before and after where there is a before."""
    rows = run.fused.filter(run.evaluated)
    truth = both(rows)
    predictions = {name: (both(rows, name), both(rows, name, "variance")) for name in SYSTEM_LINES}
    known = {name: _known(truth, *prediction) for name, prediction in predictions.items()}
    predictions = {
        name: prediction for name, prediction in predictions.items() if known[name].sum(axis=0).min() >= MIN_ROWS
    }
    made = [reliability(truth, predictions), risk(truth, predictions)] if predictions else []
    return made + agreement(run)


def reliability(truth: np.ndarray, predictions: ExpertPredictions) -> Plot:
    """Observed over nominal coverage of central intervals; arrays of shape (rows, 2)."""

    def paint(d: int, axes: Axes) -> str:
        said = []
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        for name, (mean, variance) in predictions.items():
            expected, observed = reliability_curve(truth[:, d], mean[:, d], variance[:, d])
            axes.plot(100 * expected, 100 * observed, label=system_name(name), **SYSTEM_LINES[name])
            at_90 = float(np.interp(0.9, expected, observed))
            said.append(f"{system_name(name)} {decimal(100 * at_90, 0)} %")
        axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", title=AXES[d].capitalize())
        axes.set(xlabel="nominal coverage (%)", ylabel="ratings inside the interval (%)")
        axes.legend(loc="upper left")
        return f"Reliability of {AXES[d]}: the 90 % interval holds {', '.join(said)} of the ratings."

    return Plot(
        "reliability",
        "Reliability",
        per_axis("reliability", paint),
        "How many ratings fall into intervals of each nominal coverage. Below the dashed line the model is "
        "overconfident, above it underconfident.",
    )


def risk(truth: np.ndarray, predictions: ExpertPredictions) -> Plot:
    """Mean absolute error of the most certain share of images over that share; arrays of shape (rows, 2)."""

    def paint(d: int, axes: Axes) -> str:
        said = []
        for name, (mean, variance) in predictions.items():
            curve = risk_coverage(truth[:, d], mean[:, d], variance[:, d])
            start = min(len(curve.risk) - 1, max(4, len(curve.risk) // 50))
            every = max(1, (len(curve.risk) - start) // 400)
            axes.plot(
                100 * curve.coverage[start::every],
                curve.risk[start::every],
                label=system_name(name),
                **SYSTEM_LINES[name],
            )
            half = float(np.interp(0.5, curve.coverage, curve.risk))
            said.append(
                f"{system_name(name)} {decimal(half)} for the certain half, {decimal(float(curve.risk[-1]))} for all"
            )
        axes.set(xlim=(0, 100), title=AXES[d].capitalize())
        axes.set_ylim(bottom=0)
        axes.set(xlabel="most certain share of images kept (%)", ylabel="mean absolute error (reference units)")
        axes.legend(loc="lower right")
        return f"Risk and coverage of {AXES[d]}, mean absolute error: {'; '.join(said)}."

    return Plot(
        "risk",
        "Risk and coverage",
        per_axis("risk", paint),
        "Where the variance ranks the errors, the curve rises to the right; a flat one means that it "
        "does not. Each system has its own images: the face only those with a face.",
    )


def agreement(run: RunFolder) -> list[Plot]:
    """Bland-Altman before and after calibration, one figure for each expert that was calibrated.

    Before is the run's predictions table, after its fused table; without predictions, or where the calibration
    changed nothing, there is nothing to draw.
    """
    before = run.predictions
    if not before.num_rows:
        return []
    ids = texts(before, "sample_id")
    order = np.argsort(ids)
    rows = run.fused.filter(run.evaluated)
    at = np.searchsorted(ids, texts(rows, "sample_id"), sorter=order)
    before = before.take(order[np.clip(at, 0, len(ids) - 1)])
    found = []
    for name in ("scene", "face"):
        raw, calibrated = both(before, name), both(rows, name)
        moved = np.abs(raw - calibrated)
        if np.isfinite(moved).any() and np.nanmax(moved) > 1e-4:
            found.append(_agreement_of(name, both(rows), {"before": raw, "after": calibrated}))
    return [plot for plot in found if plot is not None]


def _agreement_of(name: str, truth: np.ndarray, means: Mapping[str, np.ndarray]) -> Plot | None:
    if not all((np.isfinite(truth) & np.isfinite(mean)).sum(axis=0).min() >= MIN_ROWS for mean in means.values()):
        return None

    def paint(d: int, when: str, axes: Axes) -> str:
        data = bland_altman(truth[:, d], means[when][:, d])
        ok = np.isfinite(data.difference)
        largest = density(axes, data.average[ok], data.difference[ok], (-1, 1, -2, 2))
        for level, style in ((data.bias, "-"), (data.lower, (0, (4, 3))), (data.upper, (0, (4, 3)))):
            axes.axhline(float(level), color=INK, linewidth=1.0, linestyle=style, zorder=3)
        axes.set(xlim=(-1.05, 1.05), ylim=(-2, 2), title=f"{AXES[d].capitalize()}, {when}")
        axes.set(xlabel=f"mean of {name} and rating (reference units)", ylabel=f"{name} − rating (reference units)")
        return (
            f"{AXES[d].capitalize()} {when} calibration: bias {decimal(float(data.bias), sign=True)}, "
            f"limits of agreement {decimal(float(data.lower), 2)} to {decimal(float(data.upper), 2)}."
            + cells_note(largest)
        )

    panels = tuple(
        draw(f"agreement-{name}-{axis}-{when}", partial(paint, d, when))
        for d, axis in enumerate(AXES)
        for when in means
    )
    caption = "Bland–Altman: the solid line is the bias, the dashed ones hold 95 % of the differences."
    return Plot(f"agreement-{name}", f"Agreement of the {name} with the ratings", panels, caption)


def _known(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.isfinite(truth) & np.isfinite(mean) & (np.nan_to_num(variance) > 0)
