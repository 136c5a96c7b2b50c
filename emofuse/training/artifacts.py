"""What a training run leaves behind: the head's card, and the tables that the notebook and the reports read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.affect import AXES
from emofuse.config import TrainingConfig
from emofuse.experts.backbone import Backbone
from emofuse.experts.card import FORMAT
from emofuse.experts.head_file import save_head
from emofuse.tables import schema
from emofuse.tables.hashes import pack_hashes
from emofuse.training.cross_validation import Estimates, fitting, out_of_fold, predict
from emofuse.training.features import FeatureSet, backbone_features
from emofuse.training.image_source import FeatureSource
from emofuse.training.image_store import ImageStore
from emofuse.training.lr_finder import RangeTest
from emofuse.training.phase import Rows
from emofuse.training.trainer import PhaseResult

if TYPE_CHECKING:
    from emofuse.training.plan import TrainPlan


ABOUT = ("dataset", "title", "licence", "source_units", "split_seed")
"""What of a manifest's metadata goes into a card."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions for rows that did not train the head that made them.

    Attributes:
        folds: of grouped cross-validation over the training rows, each by a head trained on the other folds.
        valid: of the valid rows by the served head, or None where there are none.
        folds_rows: the rows of `folds`.
        valid_rows: the rows of `valid`.
        served: whose figures and variance scale the card takes.
    """

    folds: Estimates
    valid: Estimates | None
    folds_rows: FeatureSet
    valid_rows: FeatureSet
    served: str

    @property
    def basis(self) -> Estimates:
        """The predictions behind the card's pooled error and variance scale: the folds', as long as the backbone is
        frozen; an unfrozen backbone has seen the training rows of every fold, so then it is the valid rows'."""
        return self.folds if self.served == "frozen" or self.valid is None else self.valid


def held_out_predictions(
    result: PhaseResult, rows: FeatureSet, valid: FeatureSet, config: TrainingConfig, source: FeatureSource,
    store: ImageStore, *, seed: int,
) -> HeldOut:  # fmt: skip
    """Predict the training rows out of fold, and the valid rows with the head and backbone that are served."""
    folds = out_of_fold(rows, fitting(config, seed=seed), seed=seed)
    features = valid.features
    if result.served == "unfrozen" and len(valid):
        assert result.backbone is not None
        features = features_from(result.backbone, store(valid), source)
    estimates = Estimates(valid.labels, *predict(result.head, features, seed=seed)) if len(valid) else None
    return HeldOut(folds, estimates, rows, valid, result.served)


def features_from(backbone: Backbone, images: Rows, source: FeatureSource) -> np.ndarray:
    """Features float32 (N, D) of prepared images, in batches of the one shape."""
    order = iter(np.arange(len(images)))
    parts = []
    while len(chunk := np.array(list(islice(order, source.compute.batch_size)), dtype=np.int64)):
        parts.append(backbone_features(backbone, list(images[chunk]), source))
    return np.concatenate(parts)


def make_card(
    plan: TrainPlan, config: TrainingConfig, result: PhaseResult, source: FeatureSource, held: HeldOut,
    about: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The card of the head that a run serves."""
    backbone, rows, valid = result.backbone, held.folds_rows, held.valid_rows
    assert backbone is not None
    changed = result.served == "unfrozen"
    return {
        "format": FORMAT,
        "expert": plan.expert,
        "head": dataclasses.asdict(result.head.spec),
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights,
            "sha256": backbone.fingerprint(),
            "file": "backbone.safetensors" if changed else None,
        },
        "preprocessing": source.preprocessing.to_json(),
        "preprocessing_choice": plan.preprocessing,
        "training": {
            **dataclasses.asdict(config),
            "learning_rate": result.learning_rate,
            "phase": result.served,
            "seed": plan.seed,
        },
        "data": {
            **{key: value for key, value in about.items() if key in ABOUT},
            "fingerprint": rows.fingerprint,
            "split": {"train": len(rows), "valid": len(valid)} if plan.rows == "train" else {"all": len(rows)},
            "groups": sorted(set(rows.group)),
        },
        "loss": "gaussian_nll" if result.head.spec.log_variance else "mse",
        "labels": {
            "mean": rows.labels.mean(axis=0).tolist(),
            "median": np.median(rows.labels, axis=0).tolist(),
            "variance": rows.labels.var(axis=0).tolist(),
        },
        "training_images": pack_hashes(rows.content_hash),
        "metrics": {
            "out_of_fold": {**held.folds.figures(), "rows": len(rows), "groups": len(set(rows.group))},
            "valid": held.valid.figures() if held.valid else None,
            "protocol": "out_of_fold: GroupKFold(5, shuffle=True, random_state=0) on group over the training rows, "
            "predictions pooled, backbone frozen, what the options leave open chosen inside the folds; "
            "valid: the served head on the valid split, which also decided when to stop",
        },
        "pooled_error": held.basis.pooled_error,
        "variance_scale": held.basis.variance_line[0],
        "variance_floor": held.basis.variance_line[1],
        "mean_squared_z": held.basis.mean_squared_z,
        "licence": plan.licence,
    }


def write_run(out: Path, result: PhaseResult, card: dict[str, Any], held: HeldOut) -> None:
    """The head, its backbone where that was trained along, and the tables of a run."""
    if result.served == "unfrozen" and result.backbone is not None:
        result.backbone.save(out / "backbone.safetensors")
    save_head(out / "head.safetensors", result.head, card)
    pq.write_table(pa.Table.from_pylist(result.history), out / "history.parquet")
    if result.range_test is not None:
        write_range_test(out, result.range_test)
    parts = [_table("out_of_fold", held.folds_rows, held.folds)]
    if held.valid is not None:
        parts.append(_table("valid", held.valid_rows, held.valid))
    pq.write_table(pa.concat_tables(parts), out / "held_out.parquet")


def write_range_test(out: Path, test: RangeTest) -> None:
    """range_test.parquet: rate, loss and smoothed loss of each step; the suggested rate in its metadata."""
    table = pa.table({"lr": test.lrs, "loss": test.losses, "smoothed": test.smoothed})
    pq.write_table(schema.with_metadata(table, learning_rate=test.learning_rate), out / "range_test.parquet")


def _table(part: str, rows: FeatureSet, estimates: Estimates) -> pa.Table:
    columns: dict[str, Any] = {"part": [part] * len(rows), "sample_id": rows.sample_id, "group": rows.group}
    for i, axis in enumerate(AXES):
        columns |= {axis: rows.labels[:, i], f"scene_{axis}": estimates.mean[:, i]}
        columns[f"scene_{axis}_variance"] = estimates.variance[:, i]
    return pa.table(columns)
