"""What phase 0 reaches on OASIS, and what its parts add and cost.

    python tests/proof/scene.py --data DIR [--out DIR] [--parts folds passes search unfreeze] [--draws 24] [--threads 1]

folds     grouped 5-fold cross-validation, predictions pooled, everything chosen inside the folds: the heads beside
          ridge on the same features, ridge on averaged features of the last stage alone, and two constants
passes    MC dropout: T = 20 against T = 1 on 64 images through the embedded backbone; sampling against the closed form
search    a search on Ray Tune: wall time, time per trial, and what it would cost without reused actors
unfreeze  one split of 70/15/15 by group: the frozen phase, a search, and the unfrozen phase, on valid and on test
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table

from emofuse.affect import AXES
from emofuse.config import ComputeConfig, TrainingConfig
from emofuse.datasets import oasis, splits, with_splits
from emofuse.experts.backbone import load_backbone
from emofuse.experts.head import Head, HeadSpec, closed_form_moments, sampled_moments
from emofuse.experts.head_expert import head_moments
from emofuse.metrics.significance import Inference, accuracy, difference
from emofuse.training.artifacts import features_from
from emofuse.training.cross_validation import FOLDS, Estimates, Fit, fitting, out_of_fold, predict
from emofuse.training.features import FeatureSet, features_of
from emofuse.training.image_source import FeatureSource
from emofuse.training.image_store import ImageStore
from emofuse.training.plan import TrainPlan
from emofuse.training.ridge import choose_dropout, fit_linear, group_folds
from emofuse.training.run import prepare_backbone, split_rows
from emofuse.training.trainer import PhaseTrainer

METRICS = ("pearson", "ccc", "mae")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LAST_STAGE = 1280
RIDGE = "ridge, same features"
console = Console(width=190)


def main() -> None:
    """Parse, read, and show each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of development data, with oasis/ in it")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/proof-scene"), help="for cached features and Tune's files"
    )
    parser.add_argument("--parts", nargs="+", default=["folds", "passes", "search", "unfreeze"])
    parser.add_argument("--draws", type=int, default=24, help="trials of a search")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = with_splits(oasis.build(str(options.data / "oasis")), splits.shares("70/15/15"), 0).table
    parts: dict[str, Callable[[], None]] = {
        "folds": lambda: folds(table, options.out, options.draws),
        "passes": passes,
        "search": lambda: search(table, options.out, options.draws),
        "unfreeze": lambda: unfreeze(table, options.out, options.draws),
    }
    for name in options.parts:
        started = time.perf_counter()
        parts[name]()
        console.print(f"{name}: {time.perf_counter() - started:.0f} s\n", highlight=False)


def embedded(table: pa.Table, out: Path) -> tuple[FeatureSet, FeatureSource]:
    """Features of the embedded backbone, and how they came about."""
    backbone, source = prepare_backbone(TrainPlan())
    return features_of(table, backbone, source, out / "features"), source


def folds(table: pa.Table, out: Path, draws: int) -> None:
    """Point 1: every way to train, on the same folds."""
    rows, source = embedded(table, out)
    systems = {"constant mean": constant(rows, np.mean), "constant median": constant(rows, np.median)}
    systems["ridge, last stage averaged, ImageNet normalisation"] = ridge(imagenet(table, out, source))
    systems[RIDGE] = ridge(rows)
    ways = {
        "linear head, closed form (shipped)": fitting(TrainingConfig(epochs=0)),
        "linear head, closed form, then one cycle": fitting(TrainingConfig()),
        "linear head, random start, one cycle": fitting(TrainingConfig(start="random")),
        "two-layer head, one cycle": fitting(TrainingConfig(head="two_layer")),
        f"best of {draws} drawn settings": best_of(settings(draws)),
    }
    for name, way in ways.items():
        systems[name] = out_of_fold(rows, way)
    show(rows, systems)


def best_of(configs: list[TrainingConfig], *, seed: int = 0) -> Fit:
    """Train each way on four fifths of the groups, and return the head that errs least on the fifth."""

    def fit(rows: FeatureSet) -> Head:
        train, held = group_folds(rows.group, FOLDS, seed)[0]
        fitted, stopping = rows.rows(train), rows.rows(held)
        plain = [replace(config, unfrozen_epochs=0) for config in configs]
        heads = [PhaseTrainer(fitted, stopping, config, seed=seed).train_phase_0().head for config in plain]
        truth, features = rows.labels[held], rows.features[held]
        errors = [((predict(head, features)[0] - truth) ** 2 / rows.labels.var(0)).sum() for head in heads]
        return heads[int(np.argmin(errors))]

    return fit


def settings(draws: int) -> list[TrainingConfig]:
    """Settings from the search's own space, around the valley of a usual range test here (3e-4)."""
    rng = np.random.default_rng(0)
    return [
        TrainingConfig(
            head="linear" if rng.random() < 0.5 else "two_layer",
            start="random",
            learning_rate=float(3e-4 * 10 ** rng.uniform(-1, 1)),
            weight_decay=float(10 ** rng.uniform(-4, 0)),
            dropout=float(rng.uniform(0.1, 0.8)),
        )
        for _ in range(draws)
    ]


def imagenet(table: pa.Table, out: Path, source: FeatureSource) -> FeatureSet:
    """The last stage averaged, with ImageNet's mean and standard deviation: the baseline's features."""
    backbone = load_backbone("embedded").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other = replace(source, preprocessing=replace(source.preprocessing, mean=IMAGENET[0], std=IMAGENET[1]))
    backbone.normalise_with(other.preprocessing)
    rows = features_of(table, backbone, other, out / "features")
    return replace(rows, features=rows.features[:, :LAST_STAGE])


def constant(rows: FeatureSet, statistic: Callable[..., np.ndarray]) -> Estimates:
    """The training folds' mean or median for every row."""
    mean = np.empty_like(rows.labels)
    for train, held in group_folds(rows.group, 5, 0):
        mean[held] = statistic(rows.labels[train], axis=0)
    return Estimates(rows.labels, mean, np.full_like(mean, np.nan))


def ridge(rows: FeatureSet) -> Estimates:
    """Standardised ridge, its penalty chosen inside each fold."""
    mean = np.empty_like(rows.labels)
    for train, held in group_folds(rows.group, 5, 0):
        part = rows.rows(train)
        dropout = choose_dropout(part.features.astype(np.float64), part.labels, part.group)
        mean[held] = predict(fit_linear(part.features, part.labels, dropout), rows.features[held])[0]
    return Estimates(rows.labels, mean, np.full_like(mean, np.nan))


def show(rows: FeatureSet, systems: dict[str, Estimates]) -> None:
    """Figures with 95 % intervals over groups, and the differences from ridge on the same features."""
    for k, axis in enumerate(AXES):
        table = Table(
            "", "Pearson r", "CCC", "MAE", "r less ridge's", "MAE less ridge's", title=f"{axis}, {len(rows)} images"
        )
        truth, ridge_mean = rows.labels[:, k], systems[RIDGE].mean[:, k]
        for name, estimates in systems.items():
            own = accuracy(truth, estimates.mean[:, k], rows.group)
            told = [_told(own[metric]) for metric in METRICS]
            if name != RIDGE:
                less = difference(truth, estimates.mean[:, k], ridge_mean, rows.group, metrics=("pearson", "mae"))
                told += [_told(each, "+") for each in less.values()]
            table.add_row(name, *told)
        console.print(table)
    shipped = systems["linear head, closed form (shipped)"]
    scale, floor = shipped.variance_line
    console.print(f"shipped: mean squared error {shipped.pooled_error}, mean squared z {shipped.mean_squared_z}")
    console.print(f"variance served: {scale} times its own plus {floor}", highlight=False)


def _told(found: Inference, sign: str = "") -> str:
    return f"{found.estimate:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def passes() -> None:
    """Point 4: the cost of passes, and sampling against the closed form."""
    backbone = load_backbone("embedded").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(0)
    head = Head(HeadSpec(backbone.dimension, "two_layer", 0.3)).eval()
    images = torch.randint(0, 256, (64, 240, 240, 3), dtype=torch.uint8)
    masks = {count: head.masks(count, 0) for count in (1, 20)}
    seconds: dict[int, list[float]] = {1: [], 20: []}
    with torch.inference_mode():
        features = backbone(images)
        for _ in range(5):
            for count in (1, 20):
                started = time.process_time()
                head_moments(head, backbone(images), masks[count])
                seconds[count].append(time.process_time() - started)
    once, twenty = min(seconds[1]), min(seconds[20])
    console.print(f"64 images, CPU seconds, best of 5: T = 1 {once:.3f}, T = 20 {twenty:.3f}: {twenty / once - 1:+.1%}")
    linear = Head(HeadSpec(backbone.dimension, "linear", 0.7)).eval()
    linear.standardise.fit(features)
    with torch.inference_mode():
        exact = closed_form_moments(linear, features).epistemic
        for count in (20, 200, 2000):
            ratio = sampled_moments(linear.sample(features, linear.masks(count, 0))).epistemic / exact
            bound = math.sqrt(2 / (count - 1))
            spread = float((ratio - 1).square().mean().sqrt())
            told = f"T = {count}: sampled / closed-form variance {float(ratio.mean()):.3f} on average over images"
            console.print(f"{told}, off by {spread:.3f} (one standard error is {bound:.3f})", highlight=False)


def search(table: pa.Table, out: Path, draws: int) -> None:
    """Point 6: a search with reused actors, and a few trials without."""
    from emofuse.inference.cluster import ray_cluster
    from emofuse.tuning.learning_rate import Searcher

    rows, valid = split_rows(embedded(table, out)[0], "train")
    with ray_cluster() as resources:
        for trials, reuse in ((draws, True), (max(4, draws // 4), False)):
            name = "reused actors" if reuse else "default settings"
            searcher = Searcher(trials, out / ("reuse" if reuse else "default"), reuse=reuse)
            found = searcher(rows, valid, TrainingConfig(head="two_layer"), 0).record
            each, total = found["seconds_per_trial"], found["seconds"]
            console.print(
                f"{name}, {resources.get('CPU'):.0f} CPUs: {trials} trials in {total:.1f} s, {each:.2f} s a trial, "
                f"{found['stopped_early']} stopped early"
                + ("" if reuse else f"; {draws} would take {each * draws:.0f} s")
            )


def unfreeze(table: pa.Table, out: Path, draws: int) -> None:
    """What tuning and unfreezing add on one split; test is read once, at the end."""
    backbone, source = prepare_backbone(TrainPlan(compute=ComputeConfig(batch_size=32)))
    features = features_of(table, backbone, source, out / "features")
    rows, valid = split_rows(features, "train")
    test = features.rows(features.split == "test")
    store = ImageStore(features, source, out / "features")
    shown = Table(
        "", "valid loss", *(f"test {axis} {metric}" for axis in AXES for metric in METRICS), title="one split"
    )
    trials = [PhaseTrainer(rows, valid, config).train_phase_0() for config in settings(draws)]
    tuned = settings(draws)[int(np.argmin([trial.best["frozen"] for trial in trials]))]
    configs = {
        "linear, closed form": TrainingConfig(epochs=0),
        "two-layer, frozen": TrainingConfig(head="two_layer"),
        f"best of {draws} settings on valid, frozen": tuned,
        "two-layer, then unfrozen": TrainingConfig(head="two_layer", unfrozen_epochs=5, batch_size=32),
    }
    for name, config in configs.items():
        result = PhaseTrainer(rows, valid, config, backbone=backbone, images=store).train_phase_0()
        used = (
            test.features
            if result.served == "frozen"
            else features_from(result.backbone or backbone, store(test), source)
        )
        figures = Estimates(test.labels, *predict(result.head, used)).figures()
        losses = ", ".join(f"{phase} {loss:.4f}" for phase, loss in result.best.items())
        shown.add_row(name, losses, *(f"{figures[axis][metric]:.3f}" for axis in AXES for metric in METRICS))
    console.print(shown)


if __name__ == "__main__":
    main()
