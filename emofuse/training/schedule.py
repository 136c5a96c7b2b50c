"""The one-cycle schedule and discriminative rates, with fastai's numbers.

Source: Smith (2018); `fit_one_cycle` and `even_mults` of fastai 2.8.
"""

from __future__ import annotations

import math

import numpy as np
import torch

DIV = 25.0
DIV_FINAL = 1e5
PCT_START = 0.25
MOMENTUM = (0.95, 0.85)


def _cosine(start: float, end: float, position: float) -> float:
    return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2


def one_cycle_rate(peak: float, position: float) -> float:
    """The learning rate at `position` in [0, 1]: peak/25 up to the peak over a quarter, down to peak/100000."""
    if position < PCT_START:
        return _cosine(peak / DIV, peak, position / PCT_START)
    return _cosine(peak, peak / DIV_FINAL, (position - PCT_START) / (1 - PCT_START))


def one_cycle_momentum(position: float) -> float:
    """The momentum (beta 1) at `position` in [0, 1]: the mirror of the rate, .95 to .85 and back."""
    high, low = MOMENTUM
    if position < PCT_START:
        return _cosine(high, low, position / PCT_START)
    return _cosine(low, high, (position - PCT_START) / (1 - PCT_START))


def set_one_cycle(optimizer: torch.optim.Optimizer, peaks: list[float], position: float) -> None:
    """Give each parameter group of an Adam its rate and beta 1 for the step at `position`, step / steps, in [0, 1)."""
    momentum = one_cycle_momentum(position)
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = one_cycle_rate(peak, position)
        group["betas"] = (momentum, group["betas"][1])


def discriminative_rates(rate: float, groups: int) -> list[float]:
    """Rates from rate/100 for the earliest layers to rate/10 for the last, in geometric steps."""
    return [float(value) for value in np.geomspace(rate / 100, rate / 10, groups)] if groups > 1 else [rate / 10]
