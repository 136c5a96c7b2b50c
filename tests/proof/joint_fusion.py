"""Are fused intervals right, and what does each rule cost, on photographs of OASIS that no part was fitted on?

    python tests/proof/joint_fusion.py --data DIR [--out DIR] [--cache DIR] [--repeats 5] [--mean identity]

The folds and heads are those of fusion_on_oasis.py. In each fold's rest, out-of-fold predictions give the recalibrated
variances, what is known of both experts together, and the scale of each rule's variance; the fold is judged once.
Every rule is shown as it is and with that scale, for rows with a face, for photographs of people, and for rows
without a face: mean over deals of the folds, and the least and most of MAE and coverage.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from emofuse.affect import AXES
from emofuse.calibration.fitting import fit_expert
from emofuse.calibration.rows import group_ids
from emofuse.config import CalibrationConfig
from emofuse.fusion import Fused, inverse_variance, random_effects
from emofuse.fusion.fused_variance import fused_variance_scale
from emofuse.fusion.joint_parameters import JointParameters, assumed_joint_parameters, fit_joint_parameters
from emofuse.metrics.uncertainty import nll_rows
from tests.proof.fusion_on_oasis import FOLDS, Experts, Pictures, group_folds, read, trained, unseen

WIDE = norm.ppf(0.95)
Rule = Callable[[np.ndarray, np.ndarray], Fused]


def rules(known: JointParameters) -> dict[str, Rule]:
    """Every rule, of means and variances (2, N, 2)."""
    assumed = assumed_joint_parameters(known.prior_mean, known.prior_variance)
    scene, face = np.array([0.0, np.nan]).reshape(2, 1, 1), np.array([np.nan, 0.0]).reshape(2, 1, 1)
    return {
        "scene": lambda m, v: inverse_variance(m + scene, v),
        "face": lambda m, v: inverse_variance(m + face, v),
        "inverse variance": inverse_variance,
        "random effects": random_effects,
        "best linear unbiased": known.best_linear_unbiased,
        "joint Gaussian": known.joint_gaussian,
        "best linear unbiased, assumed": assumed.best_linear_unbiased,
        "joint Gaussian, assumed": assumed.joint_gaussian,
    }


def deal(pictures: Pictures, repeat: int, config: CalibrationConfig) -> dict[str, np.ndarray]:
    """Means and variances (2, N, 2) of every rule, each row by what was fitted without its fold."""
    out: dict[str, np.ndarray] = {}
    for rest, held in group_folds(pictures.groups, FOLDS, repeat):
        truth, groups = pictures.labels[rest], group_ids(pictures.groups[rest], len(rest))
        fitted, served = [], []
        inner: Experts = unseen(pictures, rest, repeat + 1000)
        outer: Experts = trained(pictures, rest)(held)
        for name in ("scene", "face"):
            expert, own = fit_expert(truth, *inner[name], config, groups)
            fitted.append(own)
            served.append(expert.apply(*outer[name])[:2])
        mean, variance = (np.stack(each) for each in zip(*fitted, strict=True))
        new, spread = (np.stack(each) for each in zip(*served, strict=True))
        for name, rule in rules(fit_joint_parameters(truth, mean, variance, groups=groups)).items():
            before, after = rule(mean, variance), rule(new, spread)
            scale = fused_variance_scale(truth, before.mean, before.variance, mean)
            for label, width in ((name, after.variance), (f"{name}, scaled", scale.apply(after.variance, new))):
                table = out.setdefault(label, np.full((2, len(pictures), 2), np.nan))
                table[:, held] = np.clip(after.mean, -1, 1), width
    return out


def lines(pictures: Pictures, deals: list[dict[str, np.ndarray]]) -> list[dict[str, object]]:
    """Figures of every rule, axis and kind of row, over the deals."""
    face = np.isfinite(pictures.face[:, 0])
    subsets = {"with a face": face, "Person": pictures.person, "without a face": ~face}
    found: list[dict[str, object]] = []
    for (subset, rows), name, (i, axis) in (
        (s, n, a) for s in subsets.items() for n in deals[0] for a in enumerate(AXES)
    ):
        figures = np.array([_figures(pictures.labels[rows, i], *each[name][:, rows, i]) for each in deals])
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
    pictures = read(options.data, options.cache or options.out / "features")
    config = CalibrationConfig(mean=options.mean)
    found = lines(pictures, [deal(pictures, repeat, config) for repeat in range(options.repeats)])
    show(Console(width=170), found)
    options.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pandas(pd.DataFrame(found), preserve_index=False), options.out / "joint_fusion.parquet"
    )


if __name__ == "__main__":
    main()
