"""Phase 0 on stored features and on images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.config import TrainingConfig
from emofuse.errors import ConfigError
from emofuse.experts.backbone import load_backbone
from emofuse.training.features import FeatureSet
from emofuse.training.trainer import PhaseTrainer, make_head, resolve

Pair = tuple[FeatureSet, FeatureSet]
TINY = "timm:test_efficientnet"


def state_of(head: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in head.state_dict().items()}


def test_a_linear_head_starts_in_closed_form_and_only_a_better_epoch_replaces_it(learnable: Pair) -> None:
    trainer = PhaseTrainer(*learnable, TrainingConfig(epochs=3))
    start = state_of(trainer.head)
    assert trainer.config.start == "closed_form"
    result = trainer.train_phase_0()
    assert result.best["frozen"] <= result.history[0]["valid_loss"]
    if result.history[0]["valid_loss"] == result.best["frozen"]:
        assert all(torch.equal(start[key], value) for key, value in result.head.state_dict().items())


def test_no_epochs_leave_the_closed_form_and_need_no_rate(learnable: Pair) -> None:
    trainer = PhaseTrainer(*learnable, TrainingConfig(epochs=0))
    start = state_of(trainer.head)
    result = trainer.train_phase_0()
    assert result.range_test is None
    assert len(result.history) == 1
    assert all(torch.equal(start[key], value) for key, value in result.head.state_dict().items())


@pytest.mark.parametrize("log_variance", [False, True])
def test_a_random_start_predicts_the_mean_label_and_learns(learnable: Pair, log_variance: bool) -> None:
    rows, valid = learnable
    config = TrainingConfig(head="two_layer", log_variance=log_variance, learning_rate=3e-3)
    head = make_head(resolve(config, rows), rows, seed=0).eval()
    with torch.inference_mode():
        mean, _ = head.split(head(torch.from_numpy(rows.features[:5])))
    assert np.allclose(mean.numpy(), rows.labels.mean(0), atol=1e-6)
    result = PhaseTrainer(rows, valid, config).train_phase_0()
    first, last = result.history[0], min(result.history, key=lambda row: row["valid_loss"])
    assert last["mae_valence"] < 0.8 * first["mae_valence"]


def test_the_rate_is_the_valley_unless_it_is_given(learnable: Pair) -> None:
    config = TrainingConfig(head="two_layer", epochs=1)
    found = PhaseTrainer(*learnable, config).train_phase_0()
    assert found.range_test is not None
    assert found.learning_rate == found.range_test.learning_rate
    given = PhaseTrainer(*learnable, TrainingConfig(head="two_layer", epochs=1, learning_rate=1e-3)).train_phase_0()
    assert given.range_test is None
    assert given.learning_rate == 1e-3


def test_the_range_test_changes_nothing_and_repeats(learnable: Pair) -> None:
    trainer = PhaseTrainer(*learnable, TrainingConfig(head="two_layer"))
    before = state_of(trainer.head)
    one, two = trainer.range_test(), trainer.range_test()
    assert np.array_equal(one.losses, two.losses)
    assert all(torch.equal(before[key], value) for key, value in trainer.head.state_dict().items())


def test_valid_labels_change_no_weight_but_the_choice_of_epoch(learnable: Pair) -> None:
    rows, valid = learnable
    shuffled = FeatureSet(**{**vars(valid), "labels": valid.labels[::-1].copy()})
    config = TrainingConfig(head="two_layer", learning_rate=1e-3, epochs=4, patience=9)
    histories = [PhaseTrainer(rows, each, config).train_phase_0().history for each in (valid, shuffled)]
    losses = [[row["train_loss"] for row in history[1:]] for history in histories]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("wrong", [{"head": "two_layer"}, {"log_variance": True}])
def test_a_closed_form_is_refused_where_there_is_none(learnable: Pair, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="closed form"):
        PhaseTrainer(*learnable, TrainingConfig(start="closed_form", **wrong))


def unfrozen(tmp_path: Path | None, *, rate: float = 1e-3) -> tuple[PhaseTrainer, dict[str, torch.Tensor]]:
    """A tiny backbone on drawn images whose colour is their label."""
    torch.manual_seed(0)
    backbone = load_backbone(TINY, "random")
    rng = np.random.default_rng(0)
    size = backbone.own_preprocessing.size
    labels = rng.uniform(-1, 1, (24, 2))
    colours = np.concatenate([127 + 100 * labels, np.full((24, 1), 127)], 1)[:, None, None]
    images = np.clip(colours + rng.normal(0, 5, (24, size, size, 3)), 0, 255).astype(np.uint8)
    with torch.inference_mode():
        features = backbone(torch.from_numpy(images)).numpy()
    names = np.array([str(i) for i in range(24)], dtype=object)
    every = FeatureSet(names, names, np.full(24, None), names, names, names, labels, features, "", False, {})
    place = {name: i for i, name in enumerate(names)}

    def store(rows: FeatureSet) -> np.ndarray:
        return images[[place[name] for name in rows.content_hash]]

    config = TrainingConfig(
        head="linear", start="random", learning_rate=rate, epochs=1, unfrozen_epochs=2, batch_size=8
    )
    split = np.arange(24) < 16
    trainer = PhaseTrainer(
        every.rows(split), every.rows(~split), config, folder=tmp_path, backbone=backbone, images=store
    )  # fmt: skip
    return trainer, state_of(backbone)


def test_unfreezing_trains_a_copy_with_rates_by_depth_and_the_better_phase_is_served(tmp_path: Path) -> None:
    trainer, before = unfrozen(tmp_path, rate=0.03)
    result = trainer.train_phase_0()
    assert [row["phase"] for row in result.history] == ["frozen"] * 2 + ["unfrozen"] * 3
    assert result.served == min(result.best, key=lambda name: result.best[name])
    assert result.backbone is not None
    changed = any(not torch.equal(before[key], value) for key, value in result.backbone.state_dict().items())
    assert changed == (result.served == "unfrozen")
    checkpoint = torch.load(tmp_path / "unfrozen.pt", weights_only=True)
    rates = [group["lr"] for group in checkpoint["optimizer"]["param_groups"]]
    assert len(rates) == 4
    assert np.allclose(np.diff(np.log(rates)), np.log(10) / 3)


def test_an_unfrozen_phase_keeps_the_running_statistics_of_the_backbone() -> None:
    trainer, before = unfrozen(None)
    result = trainer.train_phase_0()
    assert result.backbone is not None
    after = result.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if "running" in key)


def test_the_embedded_backbone_stays_frozen_unless_asked(learnable: Pair) -> None:
    class Embedded:
        name = "embedded"

    def none(_: FeatureSet) -> np.ndarray:
        return np.empty(0)

    for asked, expected in ((None, 0), (2, 2)):
        config = TrainingConfig(unfrozen_epochs=asked)
        trainer = PhaseTrainer(*learnable, config, backbone=Embedded(), images=none)  # type: ignore[arg-type]
        assert trainer.unfrozen_epochs == expected
