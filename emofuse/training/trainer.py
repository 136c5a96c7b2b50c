"""Phase 0: the range test, a frozen phase on stored features, an unfrozen phase on images, the better one kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from emofuse.config import TrainingConfig
from emofuse.errors import ConfigError
from emofuse.experts.backbone import EMBEDDED, Backbone
from emofuse.experts.head import Head, HeadSpec
from emofuse.training.features import FeatureSet
from emofuse.training.lr_finder import RangeTest, range_test
from emofuse.training.phase import Examples, Phase, PhasePlan, PhaseState, Rows, loss_of
from emofuse.training.ridge import choose_dropout, fit_linear
from emofuse.training.schedule import discriminative_rates

DROPOUT = 0.3
OnEpoch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, eq=False)
class PhaseResult:
    """What phase 0 gave.

    Attributes:
        head: the head that is served, best weights, in evaluation mode.
        backbone: the backbone it was trained on: the given one, or that of the unfrozen phase if that was better.
        served: which phase that is.
        learning_rate: the peak rate.
        range_test: the curve behind it; None where the rate was given.
        history: a row for each phase and epoch: losses, MAE per axis, rate. Epoch 0 is the start.
        best: the valid loss of each phase at its best epoch.
    """

    head: Head
    backbone: Backbone | None
    served: Literal["frozen", "unfrozen"]
    learning_rate: float
    range_test: RangeTest | None
    history: list[dict[str, Any]]
    best: dict[str, float]


def resolve(config: TrainingConfig, rows: FeatureSet) -> TrainingConfig:
    """`config` with its defaults filled in from the rows: start and dropout.

    Raises:
        ConfigError: if a closed form is asked for where there is none.
    """
    has_form = config.head == "linear" and not config.log_variance
    start = config.start or ("closed_form" if has_form else "random")
    if start == "closed_form" and not has_form:
        raise ConfigError("only a linear head without log-variance has a closed form; take training.start random")
    dropout = config.dropout
    if dropout is None:
        closed = start == "closed_form"
        dropout = choose_dropout(rows.features.astype(np.float64), rows.labels, rows.group) if closed else DROPOUT
    return replace(config, start=start, dropout=dropout)


def make_head(config: TrainingConfig, rows: FeatureSet, seed: int) -> Head:
    """The head at the start of training, standardising by these rows; `config` as `resolve` gives it.

    A random start predicts the mean label: the last layer is zero, its bias the mean (and the log of the variance).
    """
    if config.start == "closed_form":
        return fit_linear(rows.features, rows.labels, float(config.dropout or 0))
    spec = HeadSpec(rows.features.shape[1], config.head, float(config.dropout or 0), config.log_variance)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(spec)
    head.standardise.fit(torch.from_numpy(rows.features))
    last = head.layers[-1]
    levels = [rows.labels.mean(0)] + ([np.log(rows.labels.var(0))] if config.log_variance else [])
    with torch.no_grad():
        last.weight.zero_()  # type: ignore[operator, union-attr]
        last.bias.copy_(torch.from_numpy(np.concatenate(levels)))  # type: ignore[operator, union-attr]
    return head


class PhaseTrainer:
    """Trains one head on one backbone's features.

    Args:
        rows: labelled rows to fit.
        valid: labelled rows that decide when to stop and which phase is served; they may be none.
        config: how to train.
        seed: fixes everything that is drawn.
        folder: for checkpoints, one for each phase; with None nothing is kept and nothing resumed.
        backbone: the backbone of the features, needed for unfreezing.
        images: prepared images of given rows, uint8 (N, S, S, 3), needed for unfreezing.
        device: where it is trained; the head that comes out is on the CPU.
    """

    def __init__(
        self,
        rows: FeatureSet,
        valid: FeatureSet,
        config: TrainingConfig,
        *,
        seed: int = 0,
        folder: Path | None = None,
        backbone: Backbone | None = None,
        images: Callable[[FeatureSet], Rows] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.config = resolve(config, rows)
        self.rows, self.valid = rows, valid
        self._seed, self._folder, self._backbone, self._images = seed, folder, backbone, images
        self.head = make_head(self.config, rows, seed).to(device)
        self._device = device
        self._train = Examples(rows.features, rows.labels)
        self._held = Examples(valid.features, valid.labels)

    def range_test(self) -> RangeTest:
        """The learning-rate range test on the frozen features; leaves the head as it was."""
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-7, weight_decay=self.config.weight_decay)
        rng = np.random.default_rng([self._seed, 0])
        size = min(self.config.batch_size, len(self._train))

        def step(_: int) -> torch.Tensor:
            inputs, labels = self._train.at(rng.choice(len(self._train), size, replace=False))
            return loss_of(self.head, self.head(inputs.to(self._device)), labels.to(self._device))

        self.head.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            found = range_test(self.head, optimizer, step)
        self.head.eval()
        return found

    def train_phase_0(self, on_epoch: OnEpoch | None = None) -> PhaseResult:
        """Frozen, then unfrozen where the config says so; the phase that is better on valid is the one returned.

        Args:
            on_epoch: is given each epoch's row of the history as it is made.
        """
        trains = self.config.epochs > 0 or self.unfrozen_epochs > 0
        found = self.range_test() if trains and self.config.learning_rate is None else None
        rate = found.learning_rate if found is not None else float(self.config.learning_rate or 0)
        frozen = self._phase("frozen", self.head, [list(self.head.parameters())], [rate], self.config.epochs)
        states = {"frozen": frozen.run(on_epoch)}
        head, backbone = self.head, self._backbone
        if self.unfrozen_epochs:
            model, changed = self._unfrozen(rate, on_epoch)
            states["unfrozen"] = changed
            if changed.best_loss < states["frozen"].best_loss:
                backbone, head = model[0], model[1]  # type: ignore[assignment]
        served: Literal["frozen", "unfrozen"] = "frozen" if head is self.head else "unfrozen"
        history = [row for state in states.values() for row in state.history]
        best = {name: state.best_loss for name, state in states.items()}
        return PhaseResult(head.cpu().eval(), backbone, served, rate, found, history, best)

    @property
    def unfrozen_epochs(self) -> int:
        """How many epochs the backbone is trained along: 5, none for the embedded one or without one."""
        if self._backbone is None or self._images is None:
            return 0
        chosen = self.config.unfrozen_epochs
        return chosen if chosen is not None else (0 if self._backbone.name == EMBEDDED else 5)

    def _unfrozen(self, rate: float, on_epoch: OnEpoch | None) -> tuple[nn.Sequential, PhaseState]:
        assert self._backbone is not None
        assert self._images is not None
        # Both are copied: the frozen pair must still be there if it turns out to be the better one.
        model = nn.Sequential(copy.deepcopy(self._backbone), copy.deepcopy(self.head)).to(self._device)
        backbone, head = model[0], model[1]
        groups = [*backbone.depth_groups(self.config.depth_groups), list(head.parameters())]  # type: ignore[operator]
        rates = discriminative_rates(rate, len(groups))
        train = Examples(self._images(self.rows), self.rows.labels)
        held = Examples(self._images(self.valid), self.valid.labels)
        phase = self._phase("unfrozen", model, groups, rates, self.unfrozen_epochs, head, train, held)
        return model, phase.run(on_epoch)

    def _phase(
        self,
        name: str,
        model: nn.Module,
        groups: list[list[nn.Parameter]],
        rates: list[float],
        epochs: int,
        head: Head | nn.Module | None = None,
        train: Examples | None = None,
        held: Examples | None = None,
    ) -> Phase:
        config = self.config
        plan = PhasePlan(name, rates, config.weight_decay, epochs, config.batch_size, config.patience, self._seed)
        checkpoint = self._folder / f"{name}.pt" if self._folder else None
        end = head if head is not None else model
        assert isinstance(end, Head)
        return Phase(plan, model, end, groups, train or self._train, held or self._held, checkpoint)
