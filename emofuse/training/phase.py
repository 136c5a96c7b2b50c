"""One phase of training: one-cycle epochs with early stopping, best weights restored, resumable after each epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from emofuse.affect import AXES
from emofuse.experts.head import Head
from emofuse.io.checkpoints import read_plain
from emofuse.io.storage import replacing
from emofuse.training.schedule import one_cycle


class Rows(Protocol):
    """An array, or what is read from disk like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and labels, row by row.

    Attributes:
        inputs: features float32 (N, D), or prepared images uint8 (N, S, S, 3), possibly on disk.
        labels: float (N, 2), reference scale.
    """

    inputs: Rows
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)

    def at(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels of these rows."""
        labels = np.asarray(self.labels[rows], dtype=np.float32)
        return torch.from_numpy(np.ascontiguousarray(self.inputs[rows])), torch.from_numpy(labels)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All rows once, in batches; shuffled where there is a generator."""
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(order), size):
            yield self.at(np.sort(order[start : start + size]))


@dataclass(frozen=True)
class PhasePlan:
    """What a phase does.

    Attributes:
        name: "frozen" or "unfrozen"; names its rows in the history and its checkpoint.
        rates: peak rate of each parameter group.
        weight_decay: of AdamW.
        epochs: of one cycle.
        batch_size: rows per step.
        patience: epochs without improvement after which it stops.
        seed: fixes order and dropout, epoch by epoch.
    """

    name: str
    rates: list[float]
    weight_decay: float
    epochs: int
    batch_size: int
    patience: int
    seed: int


@dataclass
class PhaseState:
    """How far a phase has come; all of it is in the checkpoint."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False


def loss_of(head: Head, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean squared error, or the attenuated likelihood where the head gives a log-variance.

    Source: Kendall & Gal (2017), eq. 8: exp(-s) (y - m)^2 / 2 + s / 2, s the log-variance.
    """
    mean, log_variance = head.split(outputs)
    squared = (labels - mean).square()
    if log_variance is None:
        return squared.mean()
    return (0.5 * torch.exp(-log_variance) * squared + 0.5 * log_variance).mean()


def evaluate(model: nn.Module, head: Head, examples: Examples, size: int) -> tuple[float, list[float]]:
    """Loss and MAE per axis without dropout; NaN for no rows."""
    model.eval()
    device = next(model.parameters()).device
    loss, error, count = 0.0, np.zeros(len(AXES)), 0
    with torch.inference_mode():
        for inputs, labels in examples.batches(size):
            outputs = model(inputs.to(device)).cpu()
            loss += float(loss_of(head, outputs, labels)) * len(labels)
            error += (head.split(outputs)[0] - labels).abs().double().sum(0).numpy()
            count += len(labels)
    return (loss / count, [float(e) / count for e in error]) if count else (math.nan, [math.nan] * len(AXES))


class Phase:
    """Trains a model on examples; stop it anywhere, make it anew with the same arguments, and it goes on.

    Args:
        plan: rates, epochs and the rest.
        model: ends in `head`; everything in `groups` is trained.
        head: gives the outputs.
        groups: parameters, one list for each rate of the plan.
        train: the rows to fit.
        valid: the rows that decide when to stop; none of them means all epochs, and the last weights.
        checkpoint: the file that a later run goes on from; None keeps none.
    """

    def __init__(
        self,
        plan: PhasePlan,
        model: nn.Module,
        head: Head,
        groups: list[list[nn.Parameter]],
        train: Examples,
        valid: Examples,
        checkpoint: Path | None = None,
    ) -> None:
        self.plan, self.model, self.head = plan, model, head
        self.train_rows, self.valid_rows = train, valid
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in groups], lr=plan.rates[0], weight_decay=plan.weight_decay
        )
        self._steps = math.ceil(len(train) / plan.batch_size)
        self._schedule = one_cycle(self.optimizer, plan.rates, plan.epochs * self._steps) if plan.epochs else None
        self._rate = math.nan
        self.state = PhaseState()
        self._checkpoint = checkpoint
        if checkpoint is not None and checkpoint.is_file():
            self._resume(checkpoint)

    def run(self, on_epoch: Callable[[dict[str, Any]], None] | None = None) -> PhaseState:
        """Train to the end, restore the best weights, and say how it went.

        Args:
            on_epoch: is given each epoch's row of the history, after its checkpoint.
        """
        if not self.state.history:
            self._note(math.nan)
        while not self.state.done and self.state.epoch < self.plan.epochs:
            self.state.epoch += 1
            self._note(self._epoch(self.state.epoch))
            if on_epoch is not None:
                on_epoch(self.state.history[-1])
        self.model.load_state_dict(self.state.best)
        self.model.eval()
        return self.state

    def _epoch(self, epoch: int) -> float:
        """Mean training loss of one epoch; its order and dropout follow from seed and epoch alone."""
        plan, count = self.plan, len(self.train_rows)
        rng = np.random.default_rng([plan.seed, epoch])
        total, device = 0.0, next(self.model.parameters()).device
        # Normalisation layers of a backbone keep their running statistics: batches here are small.
        self.model.eval()
        self.head.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            for inputs, labels in self.train_rows.batches(plan.batch_size, rng):
                loss = loss_of(self.head, self.model(inputs.to(device)), labels.to(device))
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self._rate = self.optimizer.param_groups[-1]["lr"]
                self._schedule.step()  # type: ignore[union-attr]
                total += float(loss.detach()) * len(labels)
        return total / count

    def _note(self, train_loss: float) -> None:
        """Evaluate the weights as they are now, keep them if they are the best so far, and write the checkpoint."""
        state, plan = self.state, self.plan
        valid_loss, errors = evaluate(self.model, self.head, self.valid_rows, plan.batch_size)
        row = {"phase": plan.name, "epoch": state.epoch, "train_loss": train_loss, "valid_loss": valid_loss}
        row |= {f"mae_{axis}": error for axis, error in zip(AXES, errors, strict=True)}
        state.history.append(row | {"learning_rate": self._rate})
        if not len(self.valid_rows) or valid_loss < state.best_loss:
            state.best_loss, state.best_epoch = valid_loss, state.epoch
            state.best = copy.deepcopy(self.model.state_dict())
        state.done = state.epoch >= plan.epochs or state.epoch - state.best_epoch >= plan.patience
        if self._checkpoint is not None:
            self._save(self._checkpoint)

    def _save(self, path: Path) -> None:
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "state": vars(self.state)}
        if self._schedule is not None:
            parts["schedule"] = self._schedule.state_dict()
        with replacing(path) as pending:
            torch.save(parts, pending)

    def _resume(self, path: Path) -> None:
        parts = read_plain(path)
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(parts["schedule"])
        self.state = PhaseState(**parts["state"])
