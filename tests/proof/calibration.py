"""EmoNet on images of another domain: does calibration help there, and do its intervals hold?

    python tests/proof/calibration.py --data DIR [--out DIR] [--seeds 20]

Published predictions of EmoNet on FindingEmo images beside the human labels (DIR/emonet_on_findingemo). Groups
are the search queries that found the images, joined where the same file turned up under several. For each
seed the groups part into 70 % train, 15 % valid and 15 % test, which is read once. Mean calibrations, of which
none is chosen, are fitted on train and valid; where variances and intervals follow, means on train and these on valid.

An image is in several seeds' tests; its losses there are averaged, and intervals and p-values are Student's over
groups of these averages: over images, not over seeds, which overlap. Systems are one family under Holm's correction.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm

from emofuse.affect import AXES
from emofuse.calibration import (
    AffineVariance,
    CalibrationEvaluator,
    ConformalIntervals,
    ResponseVariance,
    fit_mean,
    pooled_variance,
)
from emofuse.calibration.rows import grouped_split
from emofuse.metrics.accuracy import concordance
from emofuse.metrics.significance import conclude_family, holm_p, ratio_mean
from emofuse.metrics.uncertainty import nll_rows
from emofuse.scales import SCALES

MODELS = {
    "affine": ("affine", "mse"),
    "affine, absolute error": ("affine", "mae"),
    "both outputs, linear": ("linear", "mse"),
    "both outputs, quadratic": ("quadratic", "mse"),
    "both outputs, quadratic, absolute error": ("quadratic", "mae"),
    "both outputs, spline, absolute error": ("spline", "mae"),
    "isotonic": ("isotonic", "mse"),
    "both outputs, ordinal, absolute error": ("ordinal", "mae"),
}
BASELINE = "constant median"
LEVEL = 0.9


def read(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and predictions (N, 2) on the reference scale, and groups (N,), of the images with a face."""
    rows = pd.read_parquet(data / "emonet_on_findingemo" / "predictions.parquet")
    rows = rows[rows["has_face"]].reset_index(drop=True)
    scale = SCALES["findingemo"]
    labels = scale.to_reference(rows[["valence", "arousal"]].to_numpy())
    predictions = scale.to_reference(rows[["emonet_valence", "emonet_arousal"]].to_numpy(), check=False)
    return labels, predictions, whole_groups(rows)


def whole_groups(rows: pd.DataFrame) -> np.ndarray:
    """Groups that share neither a search query (of any run) nor a file name with another."""
    query = rows["group"].str.replace(r"^Run_\d+/", "", regex=True).factorize()[0]
    name = rows["image_path"].str.rsplit("/", n=1).str[-1].factorize()[0] + query.max() + 1
    edges = coo_array((np.ones(len(rows)), (query, name)), shape=(name.max() + 1,) * 2)
    return connected_components(edges, directed=False)[1][query]


def splits(groups: np.ndarray, seeds: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Row numbers (train, valid, test) for each seed."""
    for seed in range(seeds):
        rest, test = grouped_split(groups, 0.15, seed)
        train, valid = grouped_split(groups[rest], 0.15 / 0.85, seed)
        yield rest[train], rest[valid], test


class Losses:
    """Each image's losses in the tests it was in, and each test's score."""

    def __init__(self, n: int) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = {}
        self.scores: dict[str, list[np.ndarray]] = {}
        self.n = n

    def add(self, name: str, rows: np.ndarray, losses: np.ndarray) -> None:
        """`losses` (rows, 2) of one test."""
        self.sums.setdefault(name, np.zeros((self.n, 2)))[rows] += losses
        self.counts.setdefault(name, np.zeros((self.n, 1)))[rows] += 1
        self.score(name, losses.mean(axis=0))

    def score(self, name: str, value: np.ndarray) -> None:
        """A score (2,) of one test that is no mean over images."""
        self.scores.setdefault(name, []).append(np.asarray(value, dtype=np.float64))

    def rows(self, name: str) -> np.ndarray:
        """Mean loss of each image (n, 2); NaN for one that was in no test."""
        with np.errstate(invalid="ignore"):
            return self.sums[name] / self.counts[name]


def means(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray, seeds: int) -> list[dict[str, object]]:
    """MAE and CCC of raw and calibrated predictions and of constants, on held-out groups."""
    mae, ccc = Losses(len(labels)), Losses(len(labels))
    for train, valid, test in splits(groups, seeds):
        fitted = np.concatenate([train, valid])
        y, x = labels[fitted], predictions[fitted]
        systems = {
            "raw": predictions[test],
            "constant mean": np.broadcast_to(y.mean(axis=0), (len(test), 2)),
            BASELINE: np.broadcast_to(np.median(y, axis=0), (len(test), 2)),
        }
        systems |= {
            name: fit_mean(kind, y, x, loss=loss).apply(predictions[test]) for name, (kind, loss) in MODELS.items()
        }
        for name, mean in systems.items():
            mae.add(name, test, np.abs(labels[test] - mean))
            ccc.score(name, concordance(labels[test], mean))
    rows = compared(mae, groups, "mae", BASELINE)
    for name, values in ccc.scores.items():
        rows += [entry(name, axis, "ccc", np.array(values)[:, i]) for i, axis in enumerate(AXES)]
    return rows


def intervals(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray, seeds: int) -> list[dict[str, object]]:
    """Coverage and NLL of an affine calibration with several variances, on held-out groups."""
    covered, surprise = Losses(len(labels)), Losses(len(labels))
    for train, valid, test in splits(groups, seeds):
        mean = fit_mean("affine", labels[train], predictions[train]).apply(predictions)
        constant = np.broadcast_to(pooled_variance(labels[valid], mean[valid]), mean.shape)
        answered = ResponseVariance.fit(labels[train], mean[train], predictions[train]).apply(predictions)
        affine = AffineVariance().fit(labels[valid], mean[valid], answered[valid]).apply(answered)
        half = norm.ppf((1 + LEVEL) / 2)
        for name, variance in {"constant": constant, "from answers": answered, "from answers, affine": affine}.items():
            surprise.add(name, test, nll_rows(labels[test], mean[test], variance[test]))
            inside = np.abs(labels[test] - mean[test]) <= half * np.sqrt(variance[test])
            covered.score(f"{name}, Gaussian", inside.mean(axis=0))
        for name, variance in {"constant": constant, "from answers, affine": affine}.items():
            conformal = ConformalIntervals.fit(labels[valid], mean[valid], variance[valid])
            low, high = conformal.interval(mean[test], variance[test], LEVEL)
            covered.score(f"{name}, conformal", ((low <= labels[test]) & (labels[test] <= high)).mean(axis=0))
    rows = compared(surprise, groups, "nll", "constant")
    for name, values in covered.scores.items():
        rows += [entry(name, axis, "coverage_90", np.array(values)[:, i]) for i, axis in enumerate(AXES)]
    return rows


def entry(system: str, axis: str, metric: str, scores: np.ndarray) -> dict[str, object]:
    """One line of the result: mean and standard deviation over the seeds."""
    spread = scores.std(ddof=1) if len(scores) > 1 else np.nan
    return {
        "system": system,
        "axis": axis,
        "metric": metric,
        "value": scores.mean(),
        "sd": spread,
        "seeds": len(scores),
    }


def compared(losses: Losses, groups: np.ndarray, metric: str, baseline: str) -> list[dict[str, object]]:
    """Lines with intervals, and each system's difference to the baseline with its corrected p and a verdict."""
    rows, differences = [], []
    for i, axis in enumerate(AXES):
        base = losses.rows(baseline)[:, i]
        for name, scores in losses.scores.items():
            own = losses.rows(name)[:, i]
            alone = ratio_mean(own, groups)
            line = entry(name, axis, metric, np.array(scores)[:, i])
            line |= {"value": alone.estimate, "ci_low": alone.low, "ci_high": alone.high, "n_groups": alone.n_groups}
            rows.append(line)
            if name != baseline:
                line["baseline"] = baseline
                differences.append(ratio_mean(own - base, groups))
    said = conclude_family(differences, lower_is_better=True)
    adjusted = holm_p([each.p for each in differences])
    judged = (line for line in rows if "baseline" in line)
    for line, each, p in zip(judged, said, adjusted, strict=True):
        line |= {"difference": each.difference.estimate, "difference_low": each.low, "difference_high": each.high}
        line |= {"p": each.difference.p, "p_holm": p, "verdict": each.word}
    return rows


def ablation(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray) -> list[dict[str, object]]:
    """The affine calibration against none, as `CalibrationEvaluator` evaluates it."""
    results = CalibrationEvaluator().ablation_study(predictions, labels, n_runs=10, groups=groups)
    axes = {"v": "valence", "a": "arousal", "avg": "average"}
    lines = []
    for name, result in results.items():
        metric, axis = name.split("_")
        line = {"system": "affine", "axis": axes[axis], "metric": metric, "baseline": "raw", "value": result["with"]}
        line |= {"difference_low": result["ci_low"], "difference_high": result["ci_high"]}
        line |= {key: result[key] for key in ("difference", "p", "p_holm", "verdict", "n_groups")}
        lines.append(line)
    return lines


def show(console: Console, title: str, rows: list[dict[str, object]]) -> None:
    """Print lines of the result as a table."""
    table = Table(
        "system", "axis", "metric", "value", "sd of seeds", "95 %", "difference", "95 %", "p (Holm)", "", title=title
    )

    def number(value: object) -> str:
        return "" if value is None or value != value else f"{value:.4f}"

    def span(low: object, high: object) -> str:
        return f"{number(low)} – {number(high)}" if number(low) else ""

    for row in rows:
        own, apart = (span(row.get(f"{k}_low"), row.get(f"{k}_high")) for k in ("ci", "difference"))
        cells = [
            str(row["system"]),
            str(row["axis"]),
            str(row["metric"]),
            number(row["value"]),
            number(row.get("sd")),
            own,
        ]
        cells += [number(row.get("difference")), apart, number(row.get("p_holm")), str(row.get("verdict", ""))]
        table.add_row(*cells)
    console.print(table)


def run(data: Path, seeds: int) -> dict[str, list[dict[str, object]]]:
    """All results by what they are about."""
    rows = read(data)
    return {
        "means": means(*rows, seeds),
        "intervals": intervals(*rows, seeds),
        "ablation": ablation(*rows),
    }


def main() -> None:
    """Run, print and store."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared, help="the folder of development data")
    parser.add_argument("--out", type=Path, default=Path("proof"), help="where calibration.parquet goes")
    parser.add_argument("--seeds", type=int, default=20, help="grouped splits")
    options = parser.parse_args()
    console = Console(width=200)
    results = run(options.data, options.seeds)
    titles = {
        "means": f"Held-out groups, {options.seeds} splits; differences to the {BASELINE}",
        "intervals": "Coverage at 90 % and NLL after recalibration; differences to one constant variance",
        "ablation": "Affine calibration against none, on an untouched test set",
    }
    for name, rows in results.items():
        show(console, titles[name], rows)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [{"part": part, **row} for part, rows in results.items() for row in rows]
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(lines), preserve_index=False), options.out / "calibration.parquet")
    console.print(f"{len(lines)} lines in {options.out / 'calibration.parquet'}")


if __name__ == "__main__":
    main()
