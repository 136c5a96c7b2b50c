"""Phase 0 from a manifest to a head that is served: tables, cache, resume, leakage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from emofuse.config import ComputeConfig, SceneConfig, TrainingConfig
from emofuse.errors import ConfigError, DataError
from emofuse.experts.head_expert import SceneExpert
from emofuse.experts.head_file import load_head
from emofuse.io.images import read_image
from emofuse.training.plan import TrainPlan
from emofuse.training.run import train

pytestmark = pytest.mark.slow

TINY = "timm:test_efficientnet"
COMPUTE = ComputeConfig(batch_size=8)


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet", pretrained=False, num_classes=0).state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def plan(tiny_weights: str) -> TrainPlan:
    training = TrainingConfig(head="two_layer", epochs=3, batch_size=8, unfrozen_epochs=0)
    return TrainPlan(backbone=TINY, weights=tiny_weights, training=training, compute=COMPUTE)


@pytest.fixture(scope="module")
def trained(painted: Path, plan: TrainPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(painted, plan, out)
    return out


def relabelled(manifest: Path, out: Path, split: str) -> Path:
    """The manifest with the labels of one split reversed."""
    table = pq.read_table(manifest)
    rows = np.array([value == split for value in table.column("split").to_pylist()])
    for axis in ("valence", "arousal"):
        values = table.column(axis).to_numpy().copy()
        values[rows] = values[rows][::-1]
        table = table.set_column(table.column_names.index(axis), axis, pa.array(values, pa.float32()))
    pq.write_table(table, out)
    return out


def test_a_run_leaves_its_tables_and_says_what_it_did(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert (trained / "_SUCCESS").is_file()
    assert record["kind"] == "train"
    assert record["counts"] == {"manifest": 36, "usable": 36, "train": 24, "valid": 6}
    assert record["range_test"]["learning_rate"] == record["learning_rate"]
    history = pq.read_table(trained / "history.parquet").to_pandas()
    assert history.epoch.tolist() == [0, 1, 2, 3]
    assert history.valid_loss.min() == pytest.approx(record["best_valid_loss"]["frozen"])
    held = pq.read_table(trained / "held_out.parquet").to_pandas()
    assert held.part.value_counts().to_dict() == {"out_of_fold": 24, "valid": 6}
    assert not held.isna().any().any()
    assert len(pq.read_table(trained / "range_test.parquet")) == len(record["range_test"]["lr"])


def test_the_head_is_served_with_the_numbers_of_its_training(painted: Path, trained: Path) -> None:
    """What the expert says of the valid images, from their files, is what the run stored for them."""
    expert = SceneExpert(SceneConfig(head=str(trained / "head.safetensors")), COMPUTE)
    manifest = pq.read_table(painted).to_pandas().set_index("sample_id")
    held = pq.read_table(trained / "held_out.parquet").to_pandas().query("part == 'valid'")
    images = [expert.preprocessing.apply(read_image(uri).rgb) for uri in manifest.uri[held.sample_id]]
    affect = expert(np.stack(images))
    assert np.allclose(affect.mean, held[["scene_valence", "scene_arousal"]].to_numpy(), atol=1e-5)
    stored = held[["scene_valence_variance", "scene_arousal_variance"]].to_numpy()
    assert np.allclose(affect.variance, stored, rtol=1e-3)


def test_training_images_are_in_sample_and_others_are_not(painted: Path, trained: Path) -> None:
    from emofuse.io.images import content_hash

    expert = SceneExpert(SceneConfig(head=str(trained / "head.safetensors")), COMPUTE)
    table = pq.read_table(painted).to_pandas()
    hashes = [content_hash(Path(uri).read_bytes()) for uri in table.uri]
    assert expert.in_sample(hashes).tolist() == (table.split == "train").tolist()


def test_a_second_run_reads_the_cached_features(
    painted: Path, plan: TrainPlan, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emofuse.experts.backbone import Backbone, load_backbone

    backbone = load_backbone(plan.backbone, plan.weights)
    calls: list[int] = []
    monkeypatch.setattr(Backbone, "forward", lambda self, images: calls.append(len(images)))
    monkeypatch.setattr("emofuse.training.run.load_backbone", lambda *_: backbone)
    record = train(painted, plan, tmp_path / "again", cache=trained / "features")
    assert record["features_cached"]
    assert not calls


def test_other_weights_or_preprocessing_make_other_features(painted: Path, plan: TrainPlan, trained: Path) -> None:
    from emofuse.training.features import features_of
    from emofuse.training.run import prepare_backbone

    table = pq.read_table(painted)
    backbone, source = prepare_backbone(plan)
    first = features_of(table, backbone, source, trained / "features")
    assert first.cached
    squashed = replace(source, preprocessing=source.preprocessing.chosen("squash"))
    assert not features_of(table, backbone, squashed, trained / "features").cached
    with torch.no_grad():
        next(backbone.network.parameters()).add_(0.01)
    assert not features_of(table, backbone, source, trained / "features").cached


def test_a_finished_run_is_returned_and_another_is_refused(painted: Path, plan: TrainPlan, trained: Path) -> None:
    before = (trained / "head.safetensors").stat().st_mtime_ns
    assert train(painted, plan, trained)["kind"] == "train"
    assert (trained / "head.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another train fingerprint"):
        train(painted, replace(plan, seed=1), trained)


class Killed(RuntimeError):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [("frozen", 2), ("unfrozen", 1)])
def test_a_killed_run_resumes_and_ends_as_an_unbroken_one(
    painted: Path, plan: TrainPlan, tmp_path: Path, at: tuple[str, int]
) -> None:
    plan = replace(plan, training=replace(plan.training, learning_rate=1e-2, unfrozen_epochs=2))
    train(painted, plan, tmp_path / "whole")

    def kill(row: dict[str, Any]) -> None:
        if (row["phase"], row["epoch"]) == at:
            raise Killed

    with pytest.raises(Killed):
        train(painted, plan, tmp_path / "broken", on_epoch=kill)
    seen: list[dict[str, Any]] = []
    train(painted, plan, tmp_path / "broken", on_epoch=seen.append)
    assert len(seen) == (3 - at[1] + 2 if at[0] == "frozen" else 2 - at[1])
    for name in ("history.parquet", "held_out.parquet"):
        one, two = (pq.read_table(tmp_path / run / name).to_pandas() for run in ("whole", "broken"))
        assert one.equals(two)  # to the last bit, NaN where NaN
    whole, broken = (load_head(tmp_path / name / "head.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(value, broken[0].state_dict()[key]) for key, value in whole[0].state_dict().items())
    assert whole[1] == broken[1]


def test_an_unfrozen_backbone_is_saved_and_served_from_beside_the_head(
    painted: Path, plan: TrainPlan, tmp_path: Path
) -> None:
    training = replace(plan.training, learning_rate=0.05, epochs=1, unfrozen_epochs=3, patience=9)
    record = train(painted, replace(plan, training=training), tmp_path / "run")
    assert record["served"] == "unfrozen", "the drawn images are made so that unfreezing helps"
    card = load_head(tmp_path / "run" / "head.safetensors")[1]
    assert card["backbone"]["file"] == "backbone.safetensors"
    expert = SceneExpert(SceneConfig(head=str(tmp_path / "run" / "head.safetensors")), COMPUTE)
    held = pq.read_table(tmp_path / "run" / "held_out.parquet").to_pandas().query("part == 'valid'")
    manifest = pq.read_table(painted).to_pandas().set_index("sample_id")
    images = [expert.preprocessing.apply(read_image(uri).rgb) for uri in manifest.uri[held.sample_id]]
    stored = held[["scene_valence", "scene_arousal"]].to_numpy()
    assert np.allclose(expert(np.stack(images)).mean, stored, atol=1e-5)
    assert card["pooled_error"] == pytest.approx(
        ((stored - held[["valence", "arousal"]]) ** 2).mean().tolist(), rel=1e-4
    )


def test_labels_of_the_test_split_change_no_fitted_number(
    painted: Path, plan: TrainPlan, trained: Path, tmp_path: Path
) -> None:
    other = relabelled(painted, tmp_path / "manifest.parquet", "test")
    train(other, plan, tmp_path / "run", cache=trained / "features")
    one, two = (load_head(folder / "head.safetensors") for folder in (trained, tmp_path / "run"))
    assert all(torch.equal(value, two[0].state_dict()[key]) for key, value in one[0].state_dict().items())
    assert one[1] == two[1]
    changed = relabelled(painted, tmp_path / "train.parquet", "train")
    train(changed, plan, tmp_path / "third", cache=trained / "features")
    assert load_head(tmp_path / "third" / "head.safetensors")[1]["pooled_error"] != one[1]["pooled_error"]


@pytest.mark.parametrize("what", ["group", "image"])
def test_train_and_valid_may_not_share_a_group_or_a_image(
    painted: Path, plan: TrainPlan, trained: Path, tmp_path: Path, what: str
) -> None:
    table = pq.read_table(painted)
    column = {"group": "group", "image": "uri"}[what]
    values = table.column(column).to_pylist()
    values[24] = values[0]
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pq.write_table(table, tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=f"share 1 {what}"):
        train(tmp_path / "manifest.parquet", plan, tmp_path / "run", cache=trained / "features")


def test_what_cannot_be_read_is_left_out_and_counted(painted: Path, plan: TrainPlan, tmp_path: Path) -> None:
    table = pq.read_table(painted)
    uris = table.column("uri").to_pylist()
    (tmp_path / "broken.png").write_bytes(Path(uris[0]).read_bytes()[:200])
    uris[0], uris[25] = str(tmp_path / "broken.png"), str(tmp_path / "none.png")
    table = table.set_column(table.column_names.index("uri"), "uri", pa.array(uris))
    pq.write_table(table, tmp_path / "manifest.parquet")
    record = train(tmp_path / "manifest.parquet", plan, tmp_path / "run")
    assert record["counts"] == {"manifest": 36, "usable": 34, "train": 23, "valid": 5}
    assert sorted(record["left_out"].values()) == [1, 1]
    assert "missing" in record["left_out"]


@pytest.mark.parametrize("column", ["valence", "group"])
def test_rows_without_labels_or_groups_are_refused(painted: Path, plan: TrainPlan, tmp_path: Path, column: str) -> None:
    table = pq.read_table(painted)
    place = table.column_names.index(column)
    table = table.set_column(place, column, pa.nulls(table.num_rows, table.schema.field(column).type))
    pq.write_table(table, tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=r"label|group"):
        train(tmp_path / "manifest.parquet", plan, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": TrainingConfig(epochs=0)}, "training.epochs must be at least 1"),
        ({"compute": ComputeConfig(device="cuda")}, "no GPU on this machine"),
    ],
)
def test_what_cannot_be_trained_claims_no_directory(
    painted: Path, plan: TrainPlan, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(painted, replace(plan, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_with_one_rating_are_no_rows_to_train_on_and_claim_no_directory(
    painted: Path, plan: TrainPlan, tmp_path: Path
) -> None:
    table = pq.read_table(painted)
    nulls = pa.nulls(table.num_rows, pa.float32())
    pq.write_table(table.set_column(table.column_names.index("arousal"), "arousal", nulls), tmp_path / "one.parquet")
    with pytest.raises(DataError, match="of 36 rows 0 have labels on both axes"):
        train(tmp_path / "one.parquet", plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()
