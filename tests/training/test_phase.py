"""One phase: the best epoch is restored, and a killed run ends as an unbroken one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.config import TrainingConfig
from emofuse.experts.head import Head, HeadSpec
from emofuse.training.features import FeatureSet
from emofuse.training.phase import Examples, Phase, PhasePlan, evaluate, loss_of
from emofuse.training.trainer import make_head, resolve

Pair = tuple[FeatureSet, FeatureSet]


def a_phase(pair: Pair, *, checkpoint: Path | None = None, rate: float = 3e-3, **changes: Any) -> Phase:
    rows, valid = pair
    config = resolve(TrainingConfig(head="two_layer"), rows)
    head = make_head(config, rows, seed=0)
    values: dict[str, Any] = {"epochs": 8, "patience": 5, **changes}
    plan = PhasePlan("frozen", [rate], 0.01, values["epochs"], 16, values["patience"], 0)
    train, held = Examples(rows.features, rows.labels), Examples(valid.features, valid.labels)
    return Phase(plan, head, head, [list(head.parameters())], train, held, checkpoint)


def test_the_best_epoch_is_restored_and_not_the_last(learnable: Pair) -> None:
    """At this rate the loss falls and rises again; the earlier prototype kept aliases of the live weights."""
    phase = a_phase(learnable, rate=0.5, epochs=12)
    weights: list[dict[str, torch.Tensor]] = []

    def keep(_: dict[str, Any]) -> None:
        weights.append({key: value.clone() for key, value in phase.model.state_dict().items()})

    state = phase.run(keep)
    losses = [row["valid_loss"] for row in state.history]
    assert state.best_loss == min(losses)
    assert state.best_epoch == int(np.argmin(losses)) != state.epoch
    expected = weights[state.best_epoch - 1] if state.best_epoch else None
    now = phase.model.state_dict()
    if expected is not None:
        assert all(torch.equal(expected[key], now[key]) for key in now)
    assert not all(torch.equal(weights[-1][key], now[key]) for key in now)
    assert evaluate(phase.model, phase.head, phase.valid_rows, 16)[0] == pytest.approx(state.best_loss)


def test_it_stops_after_as_many_epochs_without_improvement_as_its_patience(learnable: Pair) -> None:
    phase = a_phase(learnable, rate=5.0, epochs=30, patience=2)
    state = phase.run()
    assert state.epoch - state.best_epoch == 2
    assert state.epoch < 30


class Killed(RuntimeError):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(learnable: Pair, tmp_path: Path, at: int) -> None:
    whole = a_phase(learnable)
    expected = whole.run()

    def kill(row: dict[str, Any]) -> None:
        if row["epoch"] == at:
            raise Killed

    with pytest.raises(Killed):
        a_phase(learnable, checkpoint=tmp_path / "frozen.pt").run(kill)
    torch.manual_seed(12345)  # whatever happened to the global generator meanwhile
    resumed = a_phase(learnable, checkpoint=tmp_path / "frozen.pt")
    assert resumed.state.epoch == at
    state = resumed.run()
    assert [repr(row) for row in state.history] == [repr(row) for row in expected.history]
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_finished_phase_does_not_train_again(learnable: Pair, tmp_path: Path) -> None:
    first = a_phase(learnable, checkpoint=tmp_path / "frozen.pt").run()
    seen: list[dict[str, Any]] = []
    again = a_phase(learnable, checkpoint=tmp_path / "frozen.pt").run(seen.append)
    assert not seen
    assert again.best_loss == first.best_loss


def test_without_valid_rows_all_epochs_run_and_the_last_weights_stay(learnable: Pair) -> None:
    phase = a_phase((learnable[0], learnable[1].rows(np.zeros(30, dtype=bool))))
    state = phase.run()
    assert state.epoch == state.best_epoch == 8
    assert math.isnan(state.history[-1]["valid_loss"])


def test_the_loss_is_the_attenuated_likelihood_where_there_is_a_log_variance() -> None:
    head = Head(HeadSpec(3, log_variance=True))
    outputs, labels = torch.tensor([[0.5, 0.0, 0.0, math.log(4)]]), torch.tensor([[0.0, 2.0]])
    expected = np.mean([0.5 * 0.25, 0.5 * 4 / 4 + 0.5 * math.log(4)])
    assert float(loss_of(head, outputs, labels)) == pytest.approx(expected)
    plain = Head(HeadSpec(3))
    assert float(loss_of(plain, outputs[:, :2], labels)) == pytest.approx((0.25 + 4) / 2)


def test_every_row_comes_once_and_the_order_follows_from_the_generator() -> None:
    examples = Examples(np.arange(10, dtype=np.float32)[:, None], np.zeros((10, 2)))
    batches = [list(examples.batches(4, np.random.default_rng(seed))) for seed in (0, 0, 1)]
    flat = [torch.cat([inputs for inputs, _ in each]).flatten().tolist() for each in batches]
    assert sorted(flat[0]) == list(range(10))
    assert flat[0] == flat[1] != flat[2]
