"""The learning-rate range test, and where in it the rate is taken.

Source: Smith (2017), and `fastai/callback/schedule.py` of fastai 2.8 for the details.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from emofuse.errors import ConfigError

STEPS = 100
LOW, HIGH = 1e-7, 10.0
SMOOTHING = 0.98
STOP_RATIO = 4.0


@dataclass(frozen=True, eq=False)
class RangeTest:
    """A range test: the loss at each rate.

    Attributes:
        lrs: learning rates, rising geometrically, (n,).
        losses: the loss of each step, as it came, (n,).
        smoothed: its debiased exponential average, (n,).
        learning_rate: the suggested learning rate, of `valley`.
    """

    lrs: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    learning_rate: float

    def to_json(self) -> dict[str, object]:
        """The curve as JSON values, for run.json."""
        curve = {"lr": self.lrs, "loss": self.losses, "smoothed": self.smoothed}
        return {
            "learning_rate": self.learning_rate,
            **{key: [float(v) for v in values] for key, values in curve.items()},
        }


def valley(lrs: ArrayLike, losses: ArrayLike) -> float:
    """The rate in the middle of the longest valley of a range test, as fastai's `valley` defines it.

    The valley is the longest decreasing subsequence (not necessarily contiguous); its start is taken to be its end
    less its length, and the suggestion lies one half of a third past its first third.

    Args:
        lrs: learning rates (n,).
        losses: smoothed losses (n,).

    Raises:
        ValueError: if the two differ in length or are empty.

    Source: `fastai.callback.schedule.valley`.
    """
    rates, values = np.asarray(lrs, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if rates.shape != values.shape or rates.ndim != 1 or not len(rates):
        raise ValueError(f"expected two equally long, non-empty series; got {rates.shape} and {values.shape}")
    lengths = np.ones(len(values), dtype=np.int64)
    for i in range(1, len(values)):
        lengths[i] = max(1, int(lengths[:i][values[:i] > values[i]].max(initial=0)) + 1)
    end = int(lengths.argmax())
    start = end - int(lengths[end])
    third = (end - start) / 3
    # The start is an approximation and may be -1; Python's and fastai's tensors then count from the back, which is
    # only met where the valley is a single point.
    return float(rates[start + int(third) + int(third / 2)])


def smooth(losses: ArrayLike, beta: float = SMOOTHING) -> np.ndarray:
    """Exponential average with its start debiased: average / (1 - beta^n)."""
    average, out = 0.0, []
    for n, loss in enumerate(np.asarray(losses, dtype=np.float64), start=1):
        average = beta * average + (1 - beta) * loss
        out.append(average / (1 - beta**n))
    return np.array(out)


def suggest(lrs: ArrayLike, smoothed: ArrayLike, steps: int = STEPS) -> float:
    """`valley` on a range test less its first tenth, its last five points, and all from the first NaN on.

    Raises:
        ConfigError: if too little of the test is left to see a valley.
    """
    rates, values = np.asarray(lrs, dtype=np.float64), np.asarray(smoothed, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    end = min(len(values) - 5, int(bad[0]) if len(bad) else len(values))
    kept = slice(steps // 10, end)
    if len(values[kept]) < 2:
        raise ConfigError("the range test broke off before a valley could be seen; name a learning rate instead")
    return valley(rates[kept], values[kept])


def _limit(best: float, first: float) -> float:
    """The loss at which a test stops: 4 x best, and as far above a best that a likelihood made negative."""
    return STOP_RATIO * best if best > 0 else best + (STOP_RATIO - 1) * max(abs(best), abs(first))


def range_test(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[int], torch.Tensor], *, steps: int = STEPS
) -> RangeTest:
    """Train for at most `steps` steps at rates rising from 1e-7 to 10, then put everything back as it was.

    Args:
        model: its weights are restored from a deep copy; its buffers too.
        optimizer: its state and rates are restored as well.
        step: computes the loss of the k-th batch, with gradients; this function steps the optimizer.
        steps: number of steps.
    """
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    lrs, losses = [], []
    best, average = math.inf, 0.0
    for k in range(steps):
        rate = LOW * (HIGH / LOW) ** (k / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = step(k)
        loss.backward()
        optimizer.step()
        lrs.append(rate)
        losses.append(float(loss.detach()))
        average = SMOOTHING * average + (1 - SMOOTHING) * losses[-1]
        smoothed = average / (1 - SMOOTHING ** (k + 1))
        best = min(best, smoothed)
        if not math.isfinite(smoothed) or smoothed > _limit(best, losses[0]):
            break
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    optimizer.zero_grad()
    curve = smooth(losses)
    return RangeTest(np.array(lrs), np.array(losses), curve, suggest(lrs, curve, steps))
