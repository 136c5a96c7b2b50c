"""A training run of a few seconds, with everything in it that the notebook reads."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.config import ComputeConfig, TrainingConfig
from emofuse.training.features import FeatureSet
from emofuse.training.plan import Search, TrainPlan
from emofuse.training.run import train
from emofuse.training.trainer import PhaseTrainer


def paint(folder: Path, count: int = 36) -> Path:
    """A manifest of drawn images, bluer with valence and redder with arousal; groups of three; 2/3 to train."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        valence, arousal = rng.uniform(-1, 1, 2)
        colour = 127 + 100 * np.array([valence, 0, arousal])
        image = np.clip(colour + rng.normal(0, 12, (96, 112, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        split = "train" if i < count * 2 // 3 else "valid" if i < count * 5 // 6 else "test"
        rows.append((f"p{i}", str(folder / f"{i}.png"), f"g{i // 3}", split, valence, arousal))
    names = ("sample_id", "uri", "group", "split", "valence", "arousal")
    pq.write_table(
        pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)}), folder / "manifest.parquet"
    )
    return folder / "manifest.parquet"


def search_here(rows: FeatureSet, valid: FeatureSet, config: TrainingConfig, seed: int) -> Search:
    """Three trials one after another in this process, in place of a search on Ray Tune."""
    test = PhaseTrainer(rows, valid, config, seed=seed).range_test()
    curves = []
    for number, factor in enumerate((0.3, 1.0, 3.0)):
        values = {
            "learning_rate": test.learning_rate * factor,
            "weight_decay": 0.01,
            "dropout": 0.3,
            "head": config.head,
        }
        best = np.inf
        for row in (
            PhaseTrainer(rows, valid, replace(config, learning_rate=values["learning_rate"]), seed=seed)
            .train_phase_0()
            .history[1:]
        ):
            best = min(best, row["valid_loss"])
            curves.append({"trial": number, **values, **row, "best_valid_loss": best, "time_total_s": 0.1})
    chosen = min(curves, key=lambda row: row["valid_loss"])
    record = {
        "trials": 3,
        "centre": test.learning_rate,
        "chosen": asdict(replace(config, learning_rate=chosen["learning_rate"])),
    }
    record |= {
        "best_valid_loss": chosen["valid_loss"],
        "untuned_valid_loss": curves[-1]["best_valid_loss"],
        "seconds": 1,
    }
    return Search(replace(config, learning_rate=chosen["learning_rate"]), pa.Table.from_pylist(curves), test, record)


def make_run(folder: Path) -> Path:
    """Phase 0 with a search on drawn images and a tiny backbone of random weights, in `folder / "run"`."""
    training = TrainingConfig(head="two_layer", epochs=3, batch_size=8, unfrozen_epochs=0)
    plan = TrainPlan(
        backbone="timm:test_efficientnet", weights="random", training=training, compute=ComputeConfig(batch_size=8)
    )  # fmt: skip
    train(paint(folder), plan, folder / "run", searcher=search_here)
    return folder / "run"
