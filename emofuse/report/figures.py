"""The figures of every run: predictions, errors, predicted deviations, and the experts' weights."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from emofuse.affect import AXES
from emofuse.report.drawing import ACCENT, INK, LINE, MUTED, Plot, cells_note, density, draw, per_axis
from emofuse.report.run_folder import RunFolder
from emofuse.report.tables import decimal
from emofuse.tables.columns import both, column, texts

UNITS = "reference scale, −1 to 1"
_LIMITS = (-1.05, 1.05)


def plots(run: RunFolder) -> list[Plot]:
    """Every figure this run has the columns for, over the rows of its headline."""
    rows = run.fused.filter(run.evaluated)
    data = {
        "truth": both(rows),
        "fused": both(rows, "fused"),
        "variance": both(rows, "fused", "variance"),
        "scene": both(rows, "scene"),
        "face": both(rows, "face"),
        "weight": 1.0 - both(rows, "scene_weight"),
    }
    made = [
        predicted_against_rated(data["truth"], data["fused"]),
        error_against_deviation(data["truth"], data["fused"], data["variance"]),
        plane(data["fused"]),
        faces(run),
        disagreement(data["scene"], data["face"]),
        weights(data["weight"], np.isfinite(data["face"])),
    ]
    return [plot for plot in made if plot is not None]


def predicted_against_rated(truth: np.ndarray, mean: np.ndarray) -> Plot | None:
    """Fused estimates over ratings, arrays of shape (rows, 2)."""

    def paint(d: int, axes: Axes) -> str:
        ok = np.isfinite(truth[:, d]) & np.isfinite(mean[:, d])
        x, y = truth[ok, d], mean[ok, d]
        axes.plot(_LIMITS, _LIMITS, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        largest = density(axes, x, y, (*_LIMITS, *_LIMITS))
        _square(axes)
        axes.set(
            xlabel=f"rated {AXES[d]} (−1 to 1)",
            ylabel=f"predicted {AXES[d]} (fusion, −1 to 1)",
            title=AXES[d].capitalize(),
        )
        r = float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and x.std() > 0 and y.std() > 0 else np.nan
        spread = f"standard deviation {decimal(float(y.std()), 2)} against {decimal(float(x.std()), 2)} of the ratings"
        return (
            f"Predicted against rated {AXES[d]} for {len(x):,} images: correlation {decimal(r, 2)}, "
            f"mean absolute error {decimal(float(np.abs(x - y).mean()), 3)}; predictions have {spread}."
            + cells_note(largest)
        )

    if not (np.isfinite(truth) & np.isfinite(mean)).any(axis=0).all():
        return None
    return Plot(
        "rated",
        "Predicted against rated",
        per_axis("rated", paint),
        "A perfect model lies on the dashed line. A flat cloud means that predictions shrink towards the mean.",
    )


def error_against_deviation(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Plot | None:
    """Absolute errors over predicted standard deviations, with the RMSE of equal-count bins; shapes (rows, 2)."""

    def paint(d: int, axes: Axes) -> str:
        error, sigma = np.abs(truth[:, d] - mean[:, d]), np.sqrt(variance[:, d])
        ok = np.isfinite(error) & np.isfinite(sigma)
        error, sigma = error[ok], sigma[ok]
        low, high = float(sigma.min()), float(sigma.max())
        margin = max(0.05 * (high - low), 0.01)
        left, right, top = max(0.0, low - margin), high + margin, max(float(error.max()), high) * 1.05
        axes.plot([0, top], [0, top], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        largest = density(axes, sigma, error, (left, right, 0.0, top))
        bins = [b for b in np.array_split(np.argsort(sigma, kind="stable"), min(10, max(1, len(sigma) // 8))) if len(b)]
        rms_sigma = [float(np.sqrt((sigma[b] ** 2).mean())) for b in bins]
        rmse = [float(np.sqrt((error[b] ** 2).mean())) for b in bins]
        axes.plot(rms_sigma, rmse, color=INK, marker="o", markersize=3.5, zorder=3)
        axes.set(xlim=(left, right), ylim=(0, top), title=AXES[d].capitalize())
        axes.set(xlabel="predicted standard deviation (reference units)", ylabel="absolute error (reference units)")
        trend = "rises" if len(rmse) > 1 and rmse[-1] > 1.1 * rmse[0] else "does not rise"
        return (
            f"Error against predicted standard deviation of {AXES[d]}, {len(error):,} images: the root mean square "
            f"error {trend} from the most certain bin ({decimal(rmse[0], 2)}) to the least ({decimal(rmse[-1], 2)})."
            + cells_note(largest)
        )

    if not (np.isfinite(truth) & np.isfinite(mean) & np.isfinite(variance)).any(axis=0).all():
        return None
    return Plot(
        "deviation",
        "Error against predicted standard deviation",
        per_axis("deviation", paint),
        "Joined dots: root mean square error in bins of equal count. On the dashed line the predicted deviation is the "
        "error made; above it the model is overconfident, below it underconfident.",
    )


def plane(mean: np.ndarray) -> Plot | None:
    """Fused estimates in the valence-arousal plane, shape (rows, 2)."""
    ok = np.isfinite(mean).all(axis=-1)
    if not ok.any():
        return None

    def paint(axes: Axes) -> str:
        v, a = mean[ok].T
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        largest = density(axes, v, a, (*_LIMITS, *_LIMITS))
        _square(axes)
        axes.set(xlabel=f"valence ({UNITS})", ylabel=f"arousal ({UNITS})")
        inside = f"{decimal(100 * float(((v > 0) & (a > 0)).mean()), 0)} % are pleasant and aroused"
        return (
            f"Valence-arousal plane with {len(v):,} fused estimates: mean valence {decimal(float(v.mean()), 2)}, mean "
            f"arousal {decimal(float(a.mean()), 2)}; {inside}." + cells_note(largest)
        )

    caption = "Right is pleasant, up is aroused. The experts' range shows in how much of the plane they use."
    return Plot("plane", "Valence–arousal plane", (draw("plane-fused", paint),), caption)


def faces(run: RunFolder) -> Plot | None:
    """How many faces were found, over all rows of the run."""
    count = column(run.fused, "face_count")
    if not np.isfinite(count).any():
        return None
    status = texts(run.fused, "status")
    names = ["unreadable", "no face", "1 face", "2 faces", "3 or more"]
    read = status != "error"
    found = np.nan_to_num(count)
    numbers = [
        int((~read).sum()),
        *(int((read & (found == k)).sum()) for k in range(3)),
        int((read & (found > 2)).sum()),
    ]

    def paint(axes: Axes) -> str:
        share = 100 * np.array(numbers) / len(status)
        bars = axes.barh(names, share, color=[MUTED, MUTED, ACCENT, ACCENT, ACCENT], height=0.62, zorder=2)
        axes.bar_label(bars, labels=[f"{n:,}" for n in numbers], padding=4, fontsize=8.5)
        axes.set(xlim=(0, max(share) * 1.18), xlabel="share of images (%)")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        with_face = sum(numbers[2:])
        return (
            f"Coverage of faces: of {len(status):,} images {with_face:,} have a face "
            f"({decimal(100 * with_face / len(status), 0)} %), {numbers[1]:,} have none, "
            f"{numbers[0]:,} could not be read."
        )

    caption = (
        "Where there is no face, the fused estimate is the scene's. Counts stand at the bars; all rows of the run."
    )
    return Plot("faces", "Coverage of faces", (draw("faces-found", paint),), caption)


def disagreement(scene: np.ndarray, face: np.ndarray) -> Plot | None:
    """The distribution of face minus scene, shapes (rows, 2)."""
    difference = face - scene

    def paint(d: int, axes: Axes) -> str:
        values = difference[np.isfinite(difference[:, d]), d]
        reach = max(0.2, float(np.abs(values).max()) * 1.05)
        axes.hist(values, bins=np.linspace(-reach, reach, _bins(len(values))).tolist(), color=ACCENT, zorder=2)
        axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
        axes.axvline(float(values.mean()), color=INK, linewidth=1.2, zorder=3)
        axes.set(xlabel=f"face − scene, {AXES[d]} (reference units)", ylabel="images", title=AXES[d].capitalize())
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        where = "above" if values.mean() > 0 else "below"
        return (
            f"Disagreement on {AXES[d]} over {len(values):,} images with a face: the face is on average "
            f"{decimal(abs(float(values.mean())), 2)} {where} the scene; "
            f"standard deviation of the difference {decimal(float(values.std()), 2)}."
        )

    if not np.isfinite(difference).any(axis=0).all():
        return None
    return Plot(
        "disagreement",
        "Disagreement of scene and face",
        per_axis("disagreement", paint),
        "Images in which both experts have a prediction. The solid line is the mean; off the dashed zero, the two "
        "experts differ systematically and one of them wants calibration.",
    )


def weights(weight: np.ndarray, has_face: np.ndarray) -> Plot | None:
    """The distribution of the face's weight where a face was evaluated, shapes (rows, 2)."""
    known = np.isfinite(weight) & has_face

    def paint(d: int, axes: Axes) -> str:
        values = weight[known[:, d], d]
        axes.hist(values, bins=np.linspace(0, 1, _bins(len(values))).tolist(), color=ACCENT, zorder=2)
        axes.axvline(float(values.mean()), color=INK, linewidth=1.2, zorder=3)
        axes.set(xlim=(0, 1), xlabel="weight of the face (0 to 1)", ylabel="images", title=AXES[d].capitalize())
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = np.quantile(values, [0.05, 0.95])
        return (
            f"Weight of the face for {AXES[d]} over {len(values):,} images with a face: mean "
            f"{decimal(float(values.mean()), 2)}, from {decimal(float(low), 2)} to {decimal(float(high), 2)} "
            "in the middle 90 % of images."
        )

    if not known.any(axis=0).all():
        return None
    return Plot(
        "weights",
        "Weight of the face",
        per_axis("weights", paint),
        "Images in which both experts have a prediction; the scene has the rest of the weight. "
        "The solid line is the mean. A weight at 0 for all would make this scene only.",
    )


def _bins(n: int) -> int:
    """Edges of a histogram of `n` values: few for few, so that it shows a shape and not each value."""
    return int(np.clip(2 * np.sqrt(n), 9, 41))


def _square(axes: Axes) -> None:
    axes.set(xlim=_LIMITS, ylim=_LIMITS, aspect="equal")
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.spines[["left", "bottom"]].set_color(LINE)
