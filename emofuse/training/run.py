"""Phase 0 from a manifest to a run directory: features, search, training, held-out figures, a head with its card.

RUN/  run.json  head.safetensors  [backbone.safetensors]  history.parquet  range_test.parquet  [trials.parquet]
      held_out.parquet  features/  checkpoints/  _SUCCESS
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from emofuse.config import TrainingConfig
from emofuse.errors import ConfigError, DataError
from emofuse.experts.backbone import Backbone, load_backbone
from emofuse.experts.device import device_of
from emofuse.io import storage
from emofuse.io.malloc import reuse_memory
from emofuse.runs import run as runs
from emofuse.tables import schema
from emofuse.tables.columns import both, texts
from emofuse.tables.splits import splits_needed
from emofuse.training.artifacts import held_out_predictions, make_card, write_range_test, write_run
from emofuse.training.features import FeatureSet, features_of
from emofuse.training.image_source import FeatureSource
from emofuse.training.image_store import ImageStore
from emofuse.training.plan import Searcher, TrainPlan
from emofuse.training.trainer import OnEpoch, PhaseResult, PhaseTrainer

SUMMARISED = ("backbone", "head", "training", "pooled_error", "variance_scale", "variance_floor", "mean_squared_z")
"""What of a head's card stands in run.json."""


def train(
    manifest: str | Path, plan: TrainPlan, out: Path, *, cache: Path | None = None, searcher: Searcher | None = None,
    on_epoch: OnEpoch | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run phase 0 into `out`; a finished run is returned as it is, an interrupted one goes on.

    Returns:
        The run's record, as in run.json.

    Raises:
        DataError: if there are no labelled rows to train on, or train and valid share a group or an image.
        ConfigError: if `out` holds another run.
        CheckpointError: if the backbone's weights are missing or do not fit.
    """
    run, started = runs.Run(str(out)), time.perf_counter()
    mark = runs.fingerprint(runs.content_sha256(str(manifest)), plan, searcher is not None)
    record = run.open({"train": mark})
    if run.finished:
        return record
    record |= {"kind": "train", "config": dataclasses.asdict(plan), "manifest": str(manifest)}
    record |= runs.provenance()
    table = schema.check_manifest(storage.read_table(str(manifest)))
    check_training(table, plan)
    torch.set_num_threads(plan.compute.threads)
    reuse_memory()
    backbone, source = prepare_backbone(plan)
    run.save(record)
    cache = cache or out / "features"
    features = features_of(table, backbone, source, cache)
    rows, valid = split_rows(features, plan.rows)
    config = searched(run, record, searcher, rows, valid, plan) if searcher else plan.training
    store = ImageStore(features, source, cache)
    folder, device = out / "checkpoints", device_of(plan.compute)
    trainer = PhaseTrainer(
        rows, valid, config, seed=plan.seed, folder=folder, backbone=backbone, images=store, device=device
    )  # fmt: skip
    result = trainer.train_phase_0(on_epoch)
    held = held_out_predictions(result, rows, valid, config, source, store, seed=plan.seed)
    card = make_card(plan, trainer.config, result, source, held, schema.read_metadata(table.schema))
    write_run(out, result, card, held)
    counts = {"manifest": table.num_rows, "usable": len(features), "train": len(rows), "valid": len(valid)}
    record |= {"counts": counts, "left_out": features.left_out, "features_cached": features.cached}
    record |= summary(result, card)
    record["seconds"] = time.perf_counter() - started
    run.save(record)
    run.commit()
    return record


def check_training(table: pa.Table, plan: TrainPlan) -> None:
    """That a training can be had, as far as the options and the manifest tell, before a directory is claimed.

    Raises:
        ConfigError: for an option that cannot be.
        DataError: if no row to train on has both labels, or one of them has no group.
    """
    device_of(plan.compute)
    if not plan.training.epochs:  # cross-validation fits closed forms with none, a run does not
        raise ConfigError("training.epochs must be at least 1 in a training run; got 0")
    labelled = np.isfinite(both(table)).all(axis=1)
    fitted = labelled & ((texts(table, "split") == "train") | (plan.rows == "all"))
    if not fitted.any():
        raise DataError(
            f"no row to train on: of {table.num_rows} rows {labelled.sum()} have labels on both axes, "
            f"and {fitted.sum()} of them are among the {plan.rows} rows{splits_needed(table)}"
        )
    if any(group is None for group in texts(table, "group")[fitted]):
        raise DataError("training needs a group for every row, so that no group straddles two splits or folds")


def searched(
    run: runs.Run, record: dict[str, Any], searcher: Searcher, rows: FeatureSet, valid: FeatureSet, plan: TrainPlan
) -> TrainingConfig:
    """The options that the search chose; it is run once, and a run that is resumed finds it in its record."""
    if "search" not in record:
        found = searcher(rows, valid, plan.training, plan.seed)
        write_range_test(Path(run.address), found.range_test)
        pq.write_table(found.trials, Path(run.address) / "trials.parquet")
        record |= {"search": found.record, "range_test": found.range_test.to_json()}
        run.save(record)
    return TrainingConfig(**record["search"]["chosen"])


def prepare_backbone(plan: TrainPlan) -> tuple[Backbone, FeatureSource]:
    """The backbone of a plan, and how images come to it."""
    backbone = load_backbone(plan.backbone, plan.weights).to(device_of(plan.compute))
    backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = backbone.own_preprocessing.chosen(plan.preprocessing)
    backbone.normalise_with(preprocessing)
    return backbone, FeatureSource(preprocessing, plan.expert, plan.face, plan.media, plan.compute)


def split_rows(features: FeatureSet, which: str) -> tuple[FeatureSet, FeatureSet]:
    """The labelled rows to fit and those to stop by: the train and valid splits, or all and none.

    Raises:
        DataError: if there are none to fit, one has no group, or the two share a group or an image.
    """
    labelled = np.isfinite(features.labels).all(1)
    rows = features.rows(labelled & (features.split == "train") if which == "train" else labelled)
    valid = features.rows(labelled & (features.split == "valid") & (which == "train"))
    if not len(rows):
        raise DataError(f"no labelled row to train on among {len(features)} ({which} rows were asked for)")
    if any(group is None for group in rows.group):
        raise DataError("training needs a group for every row, so that no group straddles two splits or folds")
    for what in ("group", "content_hash"):
        shared = set(getattr(rows, what)) & set(getattr(valid, what))
        if shared:
            kind = "group" if what == "group" else "image"
            raise DataError(
                f"train and valid share {len(shared)} {kind}(s), first {min(shared)!r}; split by group anew"
            )
    return rows, valid


def summary(result: PhaseResult, card: dict[str, Any]) -> dict[str, Any]:
    """What run.json tells about the training itself."""
    return {
        "learning_rate": result.learning_rate,
        **({"range_test": result.range_test.to_json()} if result.range_test else {}),
        "served": result.served,
        "best_valid_loss": result.best,
        "metrics": card["metrics"],
        "head": {key: card[key] for key in SUMMARISED},
    }
