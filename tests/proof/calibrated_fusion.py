"""Is the fusion that phase 1 chooses as good as the better expert, on the photographs of people in OASIS?

    python tests/proof/calibrated_fusion.py --data DIR [--out DIR] [--cache DIR] [--repeats 5]

The folds, heads and statistics are those of fusion_on_oasis.py, where rules are compared by hand. Here each fold's
rest goes through the very sweep of `emofuse calibrate`: predictions of rows that no head has seen take the
place of a valid split, and what it chooses by its own rule evaluates the fold's photographs of category Person, once.
Gates are left out, since they ask for scores that stored features do not hold.

It then times the whole sweep of the job, gates and all, on these predictions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from emofuse.config import CalibrationSweepConfig, FusionConfig
from emofuse.fusion.select import fuse
from emofuse.inference.cluster import ray_cluster
from emofuse.tuning.calibration import CrossValidationData, sweep
from emofuse.tuning.calibration.losses import always_answered, dealt
from tests.proof.fusion_on_oasis import FOLDS, Experts, Images, compared, group_folds, read, show, trained, unseen

TRIED = CalibrationSweepConfig(
    means=("identity", "affine"),
    losses=("mse",),
    l2=(1e-2, 1e-1),
    max_weight_ratio=(2.0,),
    min_face_score=(),
    max_face_std=(),
    min_luma=(),
)
"""What is swept in each fold: no gates, and fewer penalties than the job tries, so that many folds can be run."""


def sweep_data_of(images: Images, rows: np.ndarray, experts: Experts, seed: int) -> CrossValidationData:
    """Rows that no head has seen, as phase 1 reads them; all are fitted on, photographs of people compared on."""
    mean, variance = (np.stack(each) for each in zip(*experts.values(), strict=True))
    groups = np.unique(images.groups[rows], return_inverse=True)[1]
    fold, bundle = dealt(groups, FOLDS, seed)
    unknown = np.full(len(rows), np.nan)
    scored = always_answered(mean) & images.person[rows]
    ids = rows.astype(str)
    return CrossValidationData(images.labels[rows], mean, variance, unknown, unknown, groups, ids, fold, bundle, scored)


def folds(
    images: Images, repeats: int, options: CalibrationSweepConfig
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, str]]:
    """Rows evaluated, every system's means of them, the face's share in the chosen fusion, and what was chosen."""
    for repeat in range(repeats):
        for rest, held in group_folds(images.groups, FOLDS, repeat):
            evaluated = held[images.person[held]]
            sweep_data = sweep_data_of(images, rest, unseen(images, rest, repeat + 1000), repeat)
            swept = sweep(sweep_data, options, storage_path=None)
            calibration = sweep_data.fit(slice(None), swept.layers, swept.fusion)
            plain = {name: replace(each, mean="affine", loss="mse", l2=1e-2) for name, each in swept.layers.items()}
            affine = sweep_data.fit(slice(None), plain)
            experts = trained(images, rest)(evaluated)
            raw = fuse(*(np.stack(each) for each in zip(*experts.values(), strict=True)), FusionConfig())
            systems = {name: mean for name, (mean, _) in experts.items()} | {"plain inverse variance": raw.mean}
            systems |= {f"affine {name}": affine.apply(name, *each)[0] for name, each in experts.items()}
            moved = [calibration.apply(name, *each) for name, each in experts.items()]
            mean, variance = (np.stack([each[i] for each in moved]) for i in (0, 1))
            fused = fuse(mean, variance, swept.fusion, calibration.fusion_parameters())
            systems |= {"calibrated fusion, chosen": np.clip(fused.mean, -1, 1)}
            people = images.labels[rest][images.person[rest]]
            systems |= {"constant median": np.broadcast_to(np.median(people, axis=0), fused.mean.shape)}
            kinds = "; ".join(f"{name} {each.mean}, {each.variance}" for name, each in swept.layers.items())
            yield evaluated, systems, fused.weights[1], f"{kinds}; {swept.fusion.method}"


def evaluated_lines(images: Images, repeats: int, options: CalibrationSweepConfig) -> list[dict[str, object]]:
    """Every system on both axes: MAE with its interval, and the difference to the better single expert."""
    total: dict[str, np.ndarray] = {}
    shares, choices = np.zeros((len(images), 2)), dict[str, int]()
    for evaluated, systems, share, chosen in folds(images, repeats, options):
        for name, mean in systems.items():
            losses = total.setdefault(name, np.zeros((len(images), 2)))
            losses[evaluated] += np.abs(mean - images.labels[evaluated]) / repeats
        shares[evaluated] += np.nan_to_num(share) / repeats
        choices[chosen] = choices.get(chosen, 0) + 1
    rows = np.flatnonzero(images.person)
    both = rows[np.isfinite(images.face[rows, 0])]
    lines = []
    for subset, mine in (("Person", rows), ("Person with a face", both)):
        lines += compared(total, mine, images.groups[mine], subset, shares[mine].mean(axis=0))
    return [line | {"chosen": "; ".join(f"{name}: {n}" for name, n in choices.items())} for line in lines]


def cost(images: Images) -> dict[str, float]:
    """What the job's whole default sweep takes on Ray."""
    everything = np.arange(len(images))
    sweep_data = sweep_data_of(images, everything, unseen(images, everything, 0), 0)
    rng = np.random.default_rng(0)
    # Gates ask for scores and luma, which are made up.
    made_up = {"face_score": rng.uniform(0.5, 1, len(sweep_data)), "luma": rng.uniform(20, 200, len(sweep_data))}
    with tempfile.TemporaryDirectory() as folder, ray_cluster():
        swept = sweep(replace(sweep_data, **made_up), CalibrationSweepConfig(), storage_path=folder)
    names = ("configurations", "trials", "seconds", "configurations_per_second")
    return {name: swept.facts[name] for name in names}


def main() -> None:
    """Run, print and store."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared, help="the folder of development data")
    parser.add_argument("--out", type=Path, default=Path("proof"), help="where calibrated_fusion.parquet goes")
    parser.add_argument("--cache", type=Path, default=None, help="folder of features; by default OUT/features")
    parser.add_argument("--repeats", type=int, default=5, help="deals of the groups to folds")
    parser.add_argument("--objective", default="mae", choices=("mae", "crps", "nll"), help="what the sweep minimises")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = read(options.data, options.cache or options.out / "features")
    lines = evaluated_lines(images, options.repeats, replace(TRIED, objective=options.objective))
    console = Console(width=220)
    show(console, lines)
    options.out.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(pd.DataFrame(lines), preserve_index=False)
    pq.write_table(table, options.out / "calibrated_fusion.parquet")
    found = cost(images)
    pq.write_table(pa.Table.from_pylist([found]), options.out / "calibration_sweep.parquet")
    for name, value in found.items():
        console.print(f"{name.replace('_', ' ')}: {value:,.{0 if value >= 100 else 3}f}")


if __name__ == "__main__":
    main()
