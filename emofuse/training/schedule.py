"""The one-cycle schedule with fastai's numbers, on torch's scheduler, and discriminative rates.

Source: Smith (2018); `fit_one_cycle` and `even_mults` of fastai 2.8.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.optim.lr_scheduler import OneCycleLR

DIV = 25.0
DIV_FINAL = 1e5
PCT_START = 0.25
MOMENTUM = (0.95, 0.85)


def one_cycle(optimizer: torch.optim.Optimizer, peaks: list[float], steps: int) -> OneCycleLR:
    """One cycle of an Adam's rates over `steps` steps: peak/25 up to the peak in a quarter, down to peak/100000.

    Beta 1 mirrors the rate, .95 to .85 and back. Step it after each step of the optimizer.

    Args:
        optimizer: its rates and betas are set.
        peaks: of each parameter group.
        steps: of the whole cycle, at least 1.
    """
    # fastai's step k stands at k / steps of the cycle, and its end belongs to no step. torch's last of n steps stands
    # at the end, and its peak at pct_start * n - 1: with one step more, and the peak moved, the two are the same.
    return OneCycleLR(
        optimizer,
        max_lr=peaks,
        total_steps=steps + 1,
        pct_start=(PCT_START * steps + 1) / (steps + 1),
        div_factor=DIV,
        final_div_factor=DIV_FINAL / DIV,
        max_momentum=MOMENTUM[0],
        base_momentum=MOMENTUM[1],
    )


def discriminative_rates(rate: float, groups: int) -> list[float]:
    """Rates from rate/100 for the earliest layers to rate/10 for the last, in geometric steps."""
    return [float(value) for value in np.geomspace(rate / 100, rate / 10, groups)] if groups > 1 else [rate / 10]
