"""Are fused intervals right, and what does each rule cost, on photographs of OASIS that no part was fitted on?

    python tests/proof/joint_fusion.py --data DIR [--out DIR] [--cache DIR] [--repeats 5] [--mean identity]

The folds and heads are those of fusion_on_oasis.py. In each fold's rest, out-of-fold predictions give the recalibrated
variances, what is known of both experts together, and the scale of each rule's variance, as `fit_calibration` makes
them; the fold is evaluated once. Every rule is shown as it is and with that scale, for rows with a face, for
photographs of people, and for rows without a face: mean over deals of the folds, and the least and most of MAE and
coverage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from emofuse.affect import AXES
from emofuse.calibration import Calibration, fit_calibration
from emofuse.config import CalibrationConfig, FusionConfig
from emofuse.fusion import FusionParameters, fuse
from emofuse.fusion.joint_parameters import assumed_joint_parameters
from emofuse.metrics.uncertainty import nll_rows
from emofuse.tables.schema import EXPERTS
from emofuse.training.ridge import group_folds
from tests.proof.fusion_on_oasis import FOLDS, Images, read, trained, unseen

WIDE = norm.ppf(0.95)
RULES = ("joint_gaussian", "best_linear_unbiased", "inverse_variance", "random_effects")
CARDS = {name: {"loss": "mse"} for name in EXPERTS}
"""How the heads of the folds are fitted: by ridge regression."""


def fusions(calibration: Calibration) -> Iterator[tuple[str, FusionConfig, FusionParameters, tuple[bool, bool]]]:
    """What is compared: its name, the rule, what it knows of the experts, and whether scene and face take part."""
    known = calibration.fusion_parameters()
    assert known.joint is not None
    unscaled = replace(known, scales={})
    for name, which in (("scene", (True, False)), ("face", (False, True))):
        yield name, FusionConfig(), unscaled, which
        yield f"{name}, scaled", FusionConfig(), known, which
    for rule in RULES:
        config = FusionConfig(method=rule)  # type: ignore[arg-type]
        yield rule, config, unscaled, (True, True)
        yield f"{rule}, scaled", config, known, (True, True)
    assumed = FusionParameters(joint=assumed_joint_parameters(known.joint.prior_mean, known.joint.prior_variance))
    for rule in RULES[:2]:
        yield f"{rule}, assumed", FusionConfig(method=rule), assumed, (True, True)  # type: ignore[arg-type]


def deal(images: Images, repeat: int, config: CalibrationConfig) -> dict[str, np.ndarray]:
    """Means and variances (2, N, 2) of every fusion, each row by what was fitted without its fold."""
    out: dict[str, np.ndarray] = {}
    for rest, held in group_folds(images.groups, FOLDS, repeat):
        truth, groups = images.labels[rest], images.groups[rest]
        inner, outer = unseen(images, rest, repeat + 1000), trained(images, rest)(held)
        calibration = fit_calibration(truth, inner, config, split="valid", fingerprint="", groups=groups, cards=CARDS)
        moved = [calibration.apply(name, *outer[name]) for name in EXPERTS]
        mean, variance = (np.stack([each[k] for each in moved]) for k in (0, 1))
        for name, rule, known, which in fusions(calibration):
            taken = np.where(np.reshape(which, (2, 1, 1)), mean, np.nan)
            fused = fuse(taken, variance, rule, known)
            table = out.setdefault(name, np.full((2, len(images), 2), np.nan))
            table[:, held] = np.clip(fused.mean, -1, 1), fused.variance
    return out


def lines(images: Images, deals: list[dict[str, np.ndarray]]) -> list[dict[str, object]]:
    """Figures of every rule, axis and kind of row, over the deals."""
    face = np.isfinite(images.face[:, 0])
    subsets = {"with a face": face, "Person": images.person, "without a face": ~face}
    found: list[dict[str, object]] = []
    for (subset, rows), name, (i, axis) in (
        (s, n, a) for s in subsets.items() for n in deals[0] for a in enumerate(AXES)
    ):
        figures = np.array([_figures(images.labels[rows, i], *each[name][:, rows, i]) for each in deals])
        if not np.isfinite(figures).all():
            continue
        line: dict[str, object] = {"subset": subset, "rule": name, "axis": axis, "n": int(rows.sum())}
        for key, values in zip(("mae", "coverage", "mean_squared_z", "nll"), figures.T, strict=True):
            line |= {key: values.mean(), f"{key}_least": values.min(), f"{key}_most": values.max()}
        found.append(line)
    return found


def _figures(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> list[float]:
    there = np.isfinite(mean)
    y, m, v = truth[there], mean[there], variance[there]
    if not len(y):
        return [np.nan] * 4
    z = (y - m) / np.sqrt(v)
    return [np.abs(y - m).mean(), (np.abs(z) <= WIDE).mean(), (z**2).mean(), float(np.mean(nll_rows(y, m, v)))]


def show(console: Console, found: list[dict[str, object]]) -> None:
    """Print them."""
    table = Table("subset", "rule", "axis", "n", "MAE", "90 % covers", "mean z²", "NLL")
    for line in found:
        spread = [f"{line[k]:.3f} [{line[f'{k}_least']:.3f}, {line[f'{k}_most']:.3f}]" for k in ("mae", "coverage")]
        names = (str(line[key]) for key in ("subset", "rule", "axis", "n"))
        table.add_row(*names, *spread, f"{line['mean_squared_z']:.2f}", f"{line['nll']:+.3f}")
    console.print(table)


def main() -> None:
    """Run, print and store."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared, help="the folder of development data")
    parser.add_argument("--out", type=Path, default=Path("proof"), help="where joint_fusion.parquet goes")
    parser.add_argument("--cache", type=Path, default=None, help="folder of features; by default OUT/features")
    parser.add_argument("--repeats", type=int, default=5, help="deals of the groups to folds")
    parser.add_argument("--mean", default="identity", help="kind of the mean calibration")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = read(options.data, options.cache or options.out / "features")
    config = CalibrationConfig(mean=options.mean)
    found = lines(images, [deal(images, repeat, config) for repeat in range(options.repeats)])
    show(Console(width=170), found)
    options.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pandas(pd.DataFrame(found), preserve_index=False), options.out / "joint_fusion.parquet"
    )


if __name__ == "__main__":
    main()
