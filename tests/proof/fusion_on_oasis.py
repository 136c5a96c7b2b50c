"""Does the face help on the photographs of people in OASIS? Everything is fitted inside the folds.

    python tests/proof/fusion_on_oasis.py --data DIR [--out DIR] [--cache DIR] [--repeats 10]

Grouped cross-validation of the embedded backbones, five folds, redrawn each repeat. In each fold's rest: heads are
trained; the same training in five inner folds gives predictions of rows no head has seen; on these the calibration
is fitted and its fusion chosen. Then the fold's photographs of category Person are evaluated, once.

A photograph is evaluated once in every repeat and its losses are averaged; intervals are Student's over groups of
these averages: over photographs, not over repeats, which overlap.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from emofuse.affect import AXES
from emofuse.calibration import Calibration, fit_calibration
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.datasets import oasis
from emofuse.fusion.select import fuse
from emofuse.metrics.significance import ratio_mean
from emofuse.training.cross_validation import predict
from emofuse.training.features import FeatureSet, features_of
from emofuse.training.plan import TrainPlan
from emofuse.training.ridge import choose_dropout, fit_linear, group_folds
from emofuse.training.run import prepare_backbone

FOLDS = 5
MARGIN = 0.01
"""The calibrated fusion may be this much worse than the better single expert, in MAE."""
SINGLES = ("scene", "face", "affine scene", "affine face")
SCENE_ONLY = 0.05
"""Below this mean weight of the face a result is called scene only, not fusion."""
CANDIDATES = tuple(
    (mean, method)
    for method in ("constant", "best_linear_unbiased", "inverse_variance", "stacked")
    for mean in ("identity", "affine")
)
"""Mean calibrations and fusion methods to choose among, the simplest first."""


@dataclass(frozen=True, eq=False)
class Images:
    """Features of both experts on the same rows; the face's are NaN where none was found."""

    labels: np.ndarray
    groups: np.ndarray
    person: np.ndarray
    scene: np.ndarray
    face: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def read(data: Path, cache: Path) -> Images:
    """The photographs and their features, from `cache` where they are there already."""
    table = oasis.build(str(data / "oasis")).table
    sets = {}
    for expert in ("scene", "face"):
        backbone, source = prepare_backbone(TrainPlan(expert=expert))  # type: ignore[arg-type]
        sets[expert] = features_of(table, backbone, source, cache)
    scene: FeatureSet = sets["scene"]
    row = {name: i for i, name in enumerate(sets["face"].sample_id)}
    face = np.full((len(scene), sets["face"].features.shape[1]), np.nan, np.float32)
    for i, name in enumerate(scene.sample_id):
        if name in row:
            face[i] = sets["face"].features[row[name]]
    category = dict(zip(table.column("sample_id").to_pylist(), table.column("category").to_pylist(), strict=True))
    person = np.array([category[name] == "Person" for name in scene.sample_id])
    return Images(scene.labels, scene.group.astype(str), person, scene.features, face)


Experts = dict[str, tuple[np.ndarray, np.ndarray]]


def trained(images: Images, rows: np.ndarray) -> Callable[[np.ndarray], Experts]:
    """Heads fitted on `rows`, their dropout chosen there; gives both experts' means and variances of other rows."""
    heads = {}
    for name in ("scene", "face"):
        features = getattr(images, name)
        kept = rows[np.isfinite(features[rows, 0])]
        dropout = choose_dropout(features[kept], images.labels[kept], images.groups[kept])
        heads[name] = fit_linear(features[kept], images.labels[kept], dropout)

    def experts(evaluated: np.ndarray) -> Experts:
        found = {}
        for name, head in heads.items():
            features = getattr(images, name)[evaluated]
            there = np.isfinite(features[:, 0])
            mean, variance = np.full((len(evaluated), 2), np.nan), np.full((len(evaluated), 2), np.nan)
            if there.any():
                mean[there], variance[there] = predict(head, features[there])
            found[name] = (mean, variance)
        return found

    return experts


def unseen(images: Images, rows: np.ndarray, seed: int) -> Experts:
    """Both experts' estimates of `rows`, each by heads that were trained without its group."""
    found = {name: (np.full((len(rows), 2), np.nan), np.full((len(rows), 2), np.nan)) for name in ("scene", "face")}
    for train, held in group_folds(images.groups[rows], FOLDS, seed):
        for name, (mean, variance) in trained(images, rows[train])(rows[held]).items():
            found[name][0][held], found[name][1][held] = mean, variance
    return found


def joined(calibration: Calibration, experts: Experts, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The calibrated fusion's means and the face's share in it."""
    moved = [calibration.apply(name, *each) for name, each in experts.items()]
    mean, variance = (np.stack([each[i] for each in moved]) for i in (0, 1))
    fused = fuse(mean, variance, FusionConfig(method=method), calibration.fusion_parameters())  # type: ignore[arg-type]
    return fused.mean, fused.weights[1]


def choose(labels: np.ndarray, experts: Experts, groups: np.ndarray, people: np.ndarray) -> tuple[str, str]:
    """The simplest candidate within one standard error of the best, by grouped cross-validation of the calibration.

    Args:
        labels: (N, 2) of the rows no head has seen.
        experts: their estimates.
        groups: (N,).
        people: bool (N,), the rows that are evaluated; all are fitted on.
    """
    losses = np.full((len(CANDIDATES), len(labels)), np.nan)
    for train, held in group_folds(groups, FOLDS, 3):
        rest = {name: (mean[held], variance[held]) for name, (mean, variance) in experts.items()}
        for mean_kind in ("identity", "affine"):
            calibration = calibrate(labels, experts, groups, train, mean_kind)
            for i, (kind, method) in enumerate(CANDIDATES):
                if kind == mean_kind:
                    losses[i, held] = np.abs(joined(calibration, rest, method)[0] - labels[held]).mean(axis=1)
    losses = losses[:, people]
    best = int(losses.mean(axis=1).argmin())
    for i, candidate in enumerate(CANDIDATES):
        excess = pd.Series(losses[i] - losses[best]).groupby(groups[people]).sum().to_numpy()
        if excess.sum() <= np.sqrt((excess**2).sum()):
            return candidate
    return CANDIDATES[best]


def calibrate(labels: np.ndarray, experts: Experts, groups: np.ndarray, rows: np.ndarray, mean: str) -> Calibration:
    """The calibration fitted on these rows, with that calibration of the means."""
    config = CalibrationConfig(mean=mean)  # type: ignore[arg-type]
    part = {name: (mean[rows], variance[rows]) for name, (mean, variance) in experts.items()}
    return fit_calibration(labels[rows], part, config, split="valid", fingerprint="fold", groups=groups[rows])


def folds(images: Images, repeats: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, str]]:
    """Rows evaluated, every system's means of them, the face's share in the chosen fusion, and what was chosen."""
    for repeat in range(repeats):
        for rest, held in group_folds(images.groups, FOLDS, repeat):
            evaluated = held[images.person[held]]
            labels, groups, people = images.labels[rest], images.groups[rest], images.person[rest]
            inner = unseen(images, rest, repeat + 1000)
            kind, method = choose(labels, inner, groups, people)
            calibrations = {
                mean: calibrate(labels, inner, groups, np.arange(len(rest)), mean) for mean in ("identity", "affine")
            }
            experts = trained(images, rest)(evaluated)
            raw = fuse(*(np.stack(each) for each in zip(*experts.values(), strict=True)), FusionConfig())
            systems = {name: experts[name][0] for name in experts} | {"plain inverse variance": raw.mean}
            systems |= {f"affine {name}": calibrations["affine"].apply(name, *experts[name])[0] for name in experts}
            for mean, rule in CANDIDATES:
                systems[f"{mean}, {rule}"] = joined(calibrations[mean], experts, rule)[0]
            fused, share = joined(calibrations[kind], experts, method)
            systems |= {"calibrated fusion, chosen": fused}
            systems |= {"constant median": np.broadcast_to(np.median(labels[people], axis=0), fused.shape)}
            yield evaluated, systems, share, f"{kind}, {method}"


def run(images: Images, repeats: int) -> list[dict[str, object]]:
    """Every system on both axes: MAE with its interval, and the difference to the better single expert."""
    total: dict[str, np.ndarray] = {}
    shares = np.zeros((len(images), 2))
    choices: dict[str, int] = {}
    for evaluated, systems, share, chosen in folds(images, repeats):
        for name, mean in systems.items():
            total.setdefault(name, np.zeros((len(images), 2)))[evaluated] += (
                np.abs(mean - images.labels[evaluated]) / repeats
            )
        shares[evaluated] += np.nan_to_num(share) / repeats
        choices[chosen] = choices.get(chosen, 0) + 1
    rows = np.flatnonzero(images.person)
    both = rows[np.isfinite(images.face[rows, 0])]
    lines = []
    for subset, evaluated in (("Person", rows), ("Person with a face", both)):
        lines += compared(total, evaluated, images.groups[evaluated], subset, shares[evaluated].mean(axis=0))
    return [line | {"chosen": "; ".join(f"{name}: {n}" for name, n in choices.items())} for line in lines]


def compared(
    total: dict[str, np.ndarray], rows: np.ndarray, groups: np.ndarray, subset: str, share: np.ndarray
) -> list[dict[str, object]]:
    """Lines of one subset, with differences to the better of the two experts as they are, calibrated or not."""
    lines: list[dict[str, object]] = []
    for i, axis in enumerate(AXES):
        usable = [name for name in SINGLES if np.isfinite(total[name][rows, i]).all()]
        best = min(usable, key=lambda name: float(total[name][rows, i].mean()))
        for name, losses in total.items():
            own = losses[rows, i]
            if not np.isfinite(own).all():
                continue
            difference, alone = ratio_mean(own - total[best][rows, i], groups), ratio_mean(own, groups)
            line = {"subset": subset, "system": name, "axis": axis, "mae": alone.estimate, "n": len(rows)}
            line |= {"ci_low": alone.low, "ci_high": alone.high, "n_groups": alone.n_groups, "against": best}
            line |= {"difference": difference.estimate, "difference_low": difference.low}
            line |= {"difference_high": difference.high, "face_share": share[i] if "chosen" in name else np.nan}
            lines.append(line | {"within_margin": bool(difference.high < MARGIN)})
    return lines


def show(console: Console, lines: list[dict[str, object]]) -> None:
    """Print the lines, and the verdict in words."""
    table = Table(
        "subset",
        "system",
        "axis",
        "n",
        "MAE",
        "95 %",
        "against",
        "difference",
        "95 %",
        f"below {MARGIN}",
        "face's share",
    )
    for line in lines:
        numbers = {key: f"{value:.4f}" for key, value in line.items() if isinstance(value, float)}
        share = numbers["face_share"] if line["face_share"] == line["face_share"] else ""
        table.add_row(
            str(line["subset"]), str(line["system"]), str(line["axis"]), str(line["n"]), numbers["mae"],
            f"{numbers['ci_low']} – {numbers['ci_high']}", str(line["against"]), numbers["difference"],
            f"{numbers['difference_low']} – {numbers['difference_high']}", "yes" if line["within_margin"] else "no",
            share,
        )  # fmt: skip
    console.print(table)
    console.print(f"chosen in the folds: {lines[0]['chosen']}")
    for line in lines:
        if "chosen" in str(line["system"]):
            kind = "scene only" if float(str(line["face_share"])) < SCENE_ONLY else "fusion"
            console.print(
                f"{line['subset']}, {line['axis']}: {kind}, the face's mean weight is {line['face_share']:.3f}"
            )


def main() -> None:
    """Run, print and store."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared, help="the folder of development data")
    parser.add_argument("--out", type=Path, default=Path("proof"), help="where fusion_on_oasis.parquet goes")
    parser.add_argument("--cache", type=Path, default=None, help="folder of features; by default OUT/features")
    parser.add_argument("--repeats", type=int, default=10, help="deals of the groups to folds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = run(read(options.data, options.cache or options.out / "features"), options.repeats)
    console = Console(width=220)
    show(console, lines)
    options.out.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(pd.DataFrame(lines), preserve_index=False)
    pq.write_table(table, options.out / "fusion_on_oasis.parquet")


if __name__ == "__main__":
    main()
