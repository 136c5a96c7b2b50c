"""One cycle and discriminative rates, against fastai's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emofuse.training.schedule import discriminative_rates, one_cycle


def cycle(steps: int, peaks: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Rate of each group, (steps, groups), and beta 1, (steps,), at each step of the optimizer."""
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in peaks], lr=1)
    schedule, rates, momenta = one_cycle(optimizer, peaks, steps), [], []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        momenta.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        schedule.step()
    return np.array(rates), np.array(momenta)


def test_one_cycle_is_fastais() -> None:
    """Source: `fit_one_cycle` of fastai 2.8 with lr_max = 1e-3, at 0, .125, .25, .5 and .75 of the cycle."""
    rates, _ = cycle(1000, [1e-3])
    assert rates[[0, 125, 250, 500, 750], 0] == pytest.approx([4e-5, 5.2e-4, 1e-3, 7.500025e-4, 2.500075e-4], rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 40])
def test_every_step_stands_at_its_share_of_the_cycle(steps: int) -> None:
    """The formula of a cosine up over a quarter and down over the rest, at k / steps."""
    rates, momenta = cycle(steps, [1e-3, 1e-1])
    for k in range(steps):
        at = k / steps
        share = (
            (1 - math.cos(math.pi * at / 0.25)) / 2 if at < 0.25 else (1 + math.cos(math.pi * (at - 0.25) / 0.75)) / 2
        )
        low = 1 / 25 if at < 0.25 else 1e-5
        assert rates[k] == pytest.approx(np.array([1e-3, 1e-1]) * (low + (1 - low) * share), rel=1e-12)
        assert momenta[k] == pytest.approx(0.95 - 0.1 * share, rel=1e-12)


def test_discriminative_rates_are_fastais() -> None:
    """Source: fastai's `slice(lr/100, lr/10)` over three groups, lr = 1e-3."""
    assert discriminative_rates(1e-3, 3) == pytest.approx([1e-5, 3.16227766e-5, 1e-4], rel=1e-8)
    assert discriminative_rates(1e-3, 1) == [1e-4]
